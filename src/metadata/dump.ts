import { Buffer } from 'node:buffer'
import { decodeEvent } from './event.ts'
import { decodeHistory } from './history.ts'
import { kindOf, objectOf } from './key.ts'
import {
  decodeEntry,
  decodeWodBlocks,
  diskRecord,
  hostRecord,
  LMAP_SLICES,
  lunRecord,
  poolRecord,
  presentationRecord,
  presentedVolume,
  processRecord,
  relationshipRecord,
  RSD_STORES,
  rsdFields,
  scheduleRecord,
  scheduleResults,
  SEGMENTS_PER_RECORD,
  slotsRecord,
  snapshotRecord,
  TREE_EPOCHS,
  treeRecord,
  wodRecord,
  eraIndex,
} from './records.ts'
import type { Entry } from './tree.ts'

/**
 * One record as a line of text: kind, object, index, then JSON of what it says. Lines of one pool are complete: every
 * record is there, unknown ones as hex.
 */
export function dumpRecord({ hi, lo, value }: Entry): string {
  const kind = kindOf(hi) ?? `kind-${Math.floor(hi / 0x1_0000_0000)}`
  return `${kind} ${objectOf(hi)} ${lo} ${JSON.stringify(describe(kind, lo, value))}`
}

function describe(kind: string, lo: number, value: Uint8Array): unknown {
  switch (kind) {
    case 'pool':
      return poolRecord.decode(value)
    case 'disk':
      return diskRecord.decode(value)
    case 'lun': {
      const { ranges, ...rest } = lunRecord.decode(value)
      return { ...rest, ranges: ranges.filter(range => range.endSlice > 0) }
    }
    case 'relationship':
      return relationshipRecord.decode(value)
    case 'process':
      return processRecord.decode(value)
    case 'wod':
      return wodRecord.decode(value)
    case 'wodBlocks':
      return decodeWodBlocks(value, lo % eraIndex(1, 0))
    case 'snapshot':
      return snapshotRecord.decode(value)
    case 'tree':
      return treeRecord.decode(value)
    case 'treeMap':
    case 'leafMap': {
      const entry = decodeEntry(value)
      return { chunk: Math.floor(lo / TREE_EPOCHS), epoch: lo % TREE_EPOCHS, slot: entry === 0 ? null : entry - 1 }
    }
    case 'slots': {
      const { slotShift, used } = slotsRecord.decode(value)
      return { slotShift, used: Buffer.from(used).toString('hex') }
    }
    case 'host':
      return hostRecord.decode(value)
    case 'presentation':
      return { ...presentedVolume(lo), ...presentationRecord.decode(value) }
    case 'schedule': {
      const { luns, result, ...rest } = scheduleRecord.decode(value)
      return { ...rest, result: scheduleResults[result] ?? result, luns: luns.map(({ lun }) => lun) }
    }
    case 'lmap': {
      const view = new DataView(value.buffer, value.byteOffset, value.byteLength)
      return Array.from({ length: LMAP_SLICES }, (_, i) => view.getUint32(i * 4, true))
    }
    case 'rsd':
      return Array.from({ length: RSD_STORES }, (_, i) => {
        const rsd = rsdFields.decode(value, i * rsdFields.size)
        return { ...rsd, members: rsd.members.slice(0, rsd.memberCount).map(({ disk, segment }) => [disk, segment]) }
      })
    case 'segments': {
      const states: string[] = []
      for (let i = 0; i < SEGMENTS_PER_RECORD; i++) states.push('.ufm'[(value[i >> 2]! >> ((i & 3) * 2)) & 3]!)
      return states.join('').replace(/\.+$/, '')
    }
    case 'event':
      return decodeEvent(value)
    case 'history':
      return decodeHistory(value)
    default:
      return Buffer.from(value).toString('hex')
  }
}

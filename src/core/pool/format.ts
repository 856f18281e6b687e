import type { Clock } from '../base/clock.ts'
import { LunarError } from '../base/errors.ts'
import type { UuidSource } from '../base/uuid.ts'
import type { Disk } from '../block/device.ts'
import { Batch } from '../../metadata/batch.ts'
import { keyOf } from '../../metadata/key.ts'
import { LABEL_QUORUM, writeFirstLabel } from '../../metadata/label.ts'
import {
  BLOCK,
  DISK_SIZE_MIN,
  diskLayout,
  JOURNAL_AT,
  JOURNAL_LARGE,
  JOURNAL_SMALL,
  LOCK_RECORD_AT,
  ROOT_COUNT,
  ROOTS_AT,
  SEGMENT,
  WITNESS_SIZE_MIN,
} from '../../metadata/layout.ts'
import { Metadata, prepareQuorumArea } from '../../metadata/metadata.ts'
import type { MetadataDisk } from '../../metadata/quorum-disk.ts'
import { diskRecord, poolRecord } from '../../metadata/records.ts'
import { describeDisk } from './disk-record.ts'
import { chooseQuorum, quorumWanted } from './quorum-choice.ts'
import { SegmentMap } from './segments.ts'
import { regroup } from './sets.ts'

/** Copies of each metadata block: what survives the loss of two disks. */
const METADATA_COPIES = 3

export interface NewDisk {
  readonly disk: Disk
  /** Reads as zeros everywhere: its segments are clean from the start. */
  readonly blank: boolean
  readonly witness: boolean
  readonly domain?: string
}

/** @throws LunarError `ERR_DISK_TOO_SMALL` */
export function checkDiskSize(name: string, size: number, witness: boolean): void {
  const least = witness ? WITNESS_SIZE_MIN : DISK_SIZE_MIN
  if (size < least) {
    throw new LunarError('ERR_DISK_TOO_SMALL', `Cannot use ${name} as a ${witness ? 'witness' : 'disk'}`, {
      why: `it has ${size} bytes, at least ${least} are needed`,
    })
  }
}

/**
 * Makes a pool of open disks: journal areas and metadata first, then labels, which make it one. A crash before the labels
 * leaves no pool.
 */
export async function createPoolOn(disks: readonly NewDisk[], name: string, clock: Clock, uuids: UuidSource): Promise<{ poolId: string }> {
  for (const { disk, witness } of disks) checkDiskSize(disk.name, disk.size, witness)
  if (!disks.some(({ witness }) => !witness))
    throw new LunarError('ERR_TOO_FEW_DISKS', `Cannot create pool "${name}"`, { why: 'a pool needs at least one disk that is no witness' })
  const poolId = uuids()
  const nowMs = clock.wallMs()
  const joining = disks.map(({ disk, domain, witness }, number) => ({ disk: number, size: disk.size, domain: domain ?? '', witness }))
  const sets = regroup(new Map(), { joining: joining.filter(({ witness }) => !witness) })
  const described = disks.map((spec, number) =>
    describeDisk(
      { disk: spec.disk, witness: spec.witness, domain: spec.domain ?? '' },
      { poolId, poolName: name, number, diskId: uuids(), nowMs, place: sets.get(number) },
    ),
  )
  const journalSize =
    disks.filter(({ witness }) => !witness).every(({ disk, witness }) => diskLayout(disk.size, witness).journalRoom === JOURNAL_LARGE) &&
    !disks.some(({ witness }) => witness)
      ? JOURNAL_LARGE
      : JOURNAL_SMALL
  const quorum = chooseQuorum(
    disks.map((spec, disk) => ({ disk, domain: spec.domain ?? '', member: false, witness: spec.witness })),
    quorumWanted(disks.length),
  )
  const metadataDisks = new Map<number, MetadataDisk>(
    described.map(({ record }, number) => [number, { number, id: record.diskId, disk: disks[number]!.disk, segmentsAt: record.segmentsAt, quorumHint: true }]),
  )
  const batches: Batch[] = []
  const holders = holdersOf(disks)
  const places = holders.map((disk, copy) => ({ disk, segment: holders.slice(0, copy).filter(other => other === disk).length }))
  let batch = new Batch()
  batch.put(
    keyOf('pool'),
    poolRecord.encode({
      poolId,
      name,
      createdMs: nowMs,
      nextDisk: disks.length,
      nextLun: 1,
      nextProcess: 1,
      nextRelationship: 1,
      nextWod: 1,
      nextSnapshot: 1,
      nextTree: 1,
      nextSchedule: 0,
      nextHost: 1,
      metadataCopies: METADATA_COPIES,
      quorumWanted: 0,
      spare: 0,
      astride: 0,
      comment: '',
    }),
  )
  described.forEach(({ record }, number) => {
    batch.put(keyOf('disk', number), diskRecord.encode(record))
    const map = new SegmentMap(number, record.segmentCount)
    if (!disks[number]!.blank) map.fill('freed', batch)
    for (const place of places) if (place.disk === number) map.set(place.segment, 'metadata', batch)
    batches.push(batch)
    batch = new Batch()
  })
  for (const { disk, blank } of disks) if (!blank) await disk.zero(ROOTS_AT, ROOT_COUNT * BLOCK)
  await Promise.all([...quorum].map(number => prepareQuorumArea(metadataDisks.get(number)!, journalSize)))
  // The host's blocks for metadata are taken with the segments, so that no checkpoint meets a full host (hazard 12).
  await Promise.all(places.map(({ disk, segment }) => disks[disk]!.disk.reserve(described[disk]!.record.segmentsAt + segment * SEGMENT, SEGMENT)))
  await Metadata.create(
    {
      poolId,
      poolName: name,
      journalSize,
      members: quorum.map(number => metadataDisks.get(number)!),
      stores: [{ id: 1, segments: 1, places }],
      disks: metadataDisks,
    },
    batches,
    clock,
    uuids,
  )
  await Promise.all(
    described.map(({ label }, number) => writeFirstLabel(disks[number]!.disk, { ...label, flags: label.flags | (quorum.includes(number) ? LABEL_QUORUM : 0) })),
  )
  return { poolId }
}

/** The disks for the first metadata store: different domains first; a single disk holds two copies. */
function holdersOf(disks: readonly NewDisk[]): number[] {
  const able = disks
    .map((spec, number) => ({ number, domain: spec.domain ?? '', size: spec.disk.size, witness: spec.witness }))
    .filter(({ witness }) => !witness)
  const chosen: typeof able = []
  for (const distinct of [true, false]) {
    for (const disk of able) {
      if (chosen.length < METADATA_COPIES && !chosen.includes(disk) && !(distinct && disk.domain !== '' && chosen.some(other => other.domain === disk.domain)))
        chosen.push(disk)
    }
  }
  const numbers = chosen.map(({ number }) => number)
  return numbers.length === 1 ? [numbers[0]!, numbers[0]!] : numbers
}

/** Writes zeros over what makes disks a pool's: labels, lock record, roots, journal and the first segments of metadata stay unreadable without them. */
export async function wipeDisks(disks: readonly { disk: Disk; size: number }[]): Promise<void> {
  await Promise.all(
    disks.map(async ({ disk, size }) => {
      const zeros = new Uint8Array(BLOCK)
      await disk.writeDurable(0, zeros)
      await disk.writeDurable(Math.floor(size / BLOCK) * BLOCK - BLOCK, zeros)
      await disk.punch(LOCK_RECORD_AT, BLOCK)
      await disk.punch(ROOTS_AT, ROOT_COUNT * BLOCK)
      await disk.punch(JOURNAL_AT, JOURNAL_SMALL)
      await disk.flush()
    }),
  )
}

/** Comparing what the members of redundant stores hold, and making them fit (features.md A11). */
import { LunarError } from '../base/errors.ts'
import { Batch } from '../../metadata/batch.ts'
import type { Lun } from '../lun/lun.ts'
import { storeOf } from '../lun/slice-map.ts'
import type { SliceCheck } from '../pool/slice-check.ts'
import { SLICE, UNIT } from '../raid/geometry.ts'
import { byteOfStore } from '../raid/parity.ts'
import type { CheckedRange, Params, RstoreCheck } from './api.ts'
import type { EngineParts } from './engine.ts'

/** Ranges that are listed. */
const RANGES_MAX = 1000

/** Adds up what the slices of a LUN are found to hold. */
class Findings {
  compared = 0
  readonly unchecked = { noRedundancy: 0, memberAway: 0, resyncPending: 0 }
  readonly bytes = { differs: 0, unreadable: 0, lost: 0 }
  repaired = 0
  readonly ranges: CheckedRange[] = []
  unlisted = 0

  constructor(private readonly lun: Lun) {}

  add(address: number, { place, unchecked, misfits, repaired }: SliceCheck & { readonly place: number }): void {
    if (unchecked === 'no redundancy') this.unchecked.noRedundancy += SLICE
    else if (unchecked === 'member away') this.unchecked.memberAway += SLICE
    else if (unchecked === 'resync pending') this.unchecked.resyncPending += SLICE
    else this.compared += SLICE
    this.repaired += repaired
    const found = misfits.flatMap(misfit => this.rangesOf(address, place, misfit)).sort((a, b) => a.offset - b.offset)
    for (const range of found) {
      this.bytes[range.state] += range.length
      const last = this.ranges.at(-1)
      if (last && continues(last, range)) this.ranges[this.ranges.length - 1] = { ...last, length: last.length + range.length }
      else if (this.ranges.length < RANGES_MAX) this.ranges.push(range)
      else this.unlisted++
    }
  }

  /** A place on the members is one range of the LUN for each column and stripe unit that it touches. */
  private rangesOf(address: number, place: number, { state, at, length, members, columns }: SliceCheck['misfits'][number]): CheckedRange[] {
    const store = storeOf(place)
    const disks = [...new Set(members.map(member => this.lun.stores.table.diskOf(store, member)))].sort((a, b) => a - b)
    const ranges: CheckedRange[] = []
    for (let from = at; from < at + length;) {
      const to = Math.min(at + length, from - (from % UNIT) + UNIT)
      for (const column of columns)
        ranges.push({ offset: address + (byteOfStore(column, from) % SLICE), length: to - from, store, state, members: [...members], disks })
      from = to
    }
    return ranges
  }
}

const continues = (last: CheckedRange, next: CheckedRange): boolean =>
  last.offset + last.length === next.offset && last.store === next.store && last.state === next.state && last.members.join() === next.members.join()

async function check({ luns }: EngineParts, name: string, store: number | undefined, repair: boolean, signal?: AbortSignal): Promise<RstoreCheck> {
  const lun = luns.find(name)
  if (store !== undefined) {
    if (Number.isSafeInteger(store) && store >= 0 && store < lun.record.nextStore) await lun.stores.table.load(store)
    if (!lun.stores.table.exists(store)) throw new LunarError('ERR_RSTORE_NOT_FOUND', `Cannot find redundant store ${store} of LUN "${name}"`)
  }
  const findings = new Findings(lun)
  for await (const { slice, place } of lun.map.bound(0, lun.sliceCount)) {
    signal?.throwIfAborted()
    if (store !== undefined && storeOf(place) !== store) continue
    const checked = await lun.verifySlice(slice, repair, store)
    if (checked) findings.add(slice * SLICE, checked)
  }
  const { compared, unchecked, bytes, repaired, ranges, unlisted } = findings
  return { lun: name, store: store ?? null, compared, unchecked, ...bytes, repaired, ranges, unlisted }
}

export const rstoreChecks = {
  'rstore.verify': (parts: EngineParts, { lun, store }: Params<'rstore.verify'>, signal?: AbortSignal): Promise<RstoreCheck> =>
    check(parts, lun, store, false, signal),

  'rstore.repair': async (parts: EngineParts, { lun, store, dryRun }: Params<'rstore.repair'>, signal?: AbortSignal): Promise<RstoreCheck> => {
    const checked = await check(parts, lun, store, dryRun !== true, signal)
    if (checked.repaired === 0) return checked
    const batch = new Batch()
    const { pool } = parts
    pool.event(
      batch,
      'rstore.repaired',
      lun,
      `${checked.differs} bytes differed, ${checked.unreadable} were unreadable; ${checked.repaired} written to members`,
    )
    await pool.metadata.commit(batch, 'data')
    return checked
  },
}

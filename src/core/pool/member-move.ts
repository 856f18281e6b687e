import { isCode, isDisksFault, LunarError } from '../base/errors.ts'
import { Batch } from '../../metadata/batch.ts'
import { SEGMENT } from '../../metadata/layout.ts'
import { PARITY_MEMBER, SLICE_ON_MEMBER, SLICES, STORE } from '../raid/geometry.ts'
import { maskOf, runsOfSlices } from '../raid/slices.ts'
import type { LunStores } from './lun-stores.ts'
import type { Pool } from './pool.ts'
import type { PoolDisk } from './pool-disk.ts'
import type { Member } from './store-table.ts'

/** What a member that moves holds: the slices that were read, and a segment's bytes with them at their places. */
interface Held {
  readonly member: number
  readonly slices: readonly number[]
  readonly bytes: Uint8Array
}

/**
 * Moves what a store has on a disk to others, member by member, while the store is locked as a whole. What the disk gives is copied and flushed
 * before one commit names the new place; slices it does not give, where others have them, are stale in the new place, and resync makes them.
 * What is free of the store is zeros there.
 *
 * @param discard the LUN is deleted: nothing of it is copied
 * @returns members moved @throws LunarError `ERR_DATA_LOST` when a slice can be had from nowhere, `ERR_POOL_FULL`, `ERR_HOST_FULL`
 */
export async function moveMembers(pool: Pool, stores: LunStores, store: number, from: PoolDisk, discard: boolean): Promise<number> {
  await stores.table.load(store)
  const release = await stores.lockRange(store, 0, STORE, 'exclusive')
  try {
    for (;;) {
      const moved = await new MemberMove(pool, stores, store, from, discard).attempt()
      if (moved !== 'again') return moved
    }
  } finally {
    release()
  }
}

const slicesOf = (mask: number): number[] => Array.from({ length: SLICES }, (_, slice) => slice).filter(slice => (mask & (1 << slice)) !== 0)

/** One attempt. `again`: a disk left service or a slice was bound meanwhile. */
class MemberMove {
  constructor(
    private readonly pool: Pool,
    private readonly stores: LunStores,
    private readonly store: number,
    private readonly from: PoolDisk,
    private readonly discard: boolean,
  ) {}

  async attempt(): Promise<number | 'again'> {
    const { pool, store } = this
    const { table } = this.stores
    if (!table.exists(store)) return 0
    const leaving = table.membersOf(store).flatMap(({ disk }, member) => (disk === this.from.number ? [member] : []))
    if (leaving.length === 0) return 0
    const bound = table.boundMask(store)
    const held: Held[] = []
    for (const member of leaving) held.push(await this.read(member, bound))
    if (leaving.includes(PARITY_MEMBER) && this.stores.members.hasParity(store) && !(await this.settleLog(bound))) return 'again'
    const targets: Member[] = []
    try {
      for (const member of leaving) targets.push(await this.take(member, leaving, targets))
      if (!(await this.fill(held, targets, bound))) return 'again'
      // From here to the commit nothing waits.
      if (table.boundMask(store) !== bound || targets.some(({ disk }) => !pool.disk(disk).allocatable)) return 'again'
      await this.commit(held, targets, bound)
      return leaving.length
    } finally {
      // A bound one is not taken any more.
      pool.releaseMembers(targets)
    }
  }

  /** What can be copied of a member, before anything is taken for it. */
  private async read(member: number, bound: number): Promise<Held> {
    const { store, from } = this
    const { members, table } = this.stores
    const bytes = new Uint8Array(SEGMENT)
    const slices: number[] = []
    if (this.discard) return { member, slices, bytes }
    const current = slicesOf(bound).filter(slice => members.isCurrent(store, slice, member))
    for (const { from: first, count } of runsOfSlices(current)) {
      for (let slice = first; slice < first + count; slice++) {
        try {
          await from.read(table.segmentOf(store, member), slice * SLICE_ON_MEMBER, [bytes.subarray(slice * SLICE_ON_MEMBER, (slice + 1) * SLICE_ON_MEMBER)])
          slices.push(slice)
        } catch (error) {
          if (!isDisksFault(error) || !members.isRedundant(store)) throw error
          // Others have it, or the commit finds that nobody has.
          this.pool.readRepaired(from, error)
        }
      }
    }
    this.requireElsewhere(member, bound & ~maskOf(slices))
    return { member, slices, bytes }
  }

  /** @throws LunarError `ERR_DATA_LOST` when others do not have slices of a member */
  private requireElsewhere(member: number, mask: number): void {
    const lost = slicesOf(mask).filter(slice => !this.stores.members.isCovered(this.store, slice, member))
    if (this.discard || lost.length === 0) return
    throw new LunarError('ERR_DATA_LOST', `Cannot move ${this.stores.title()} off disk ${this.from.number}`, {
      why: `${lost.length} of its slices have no other current copy, and the disk does not give them`,
      fix: 'bring the disk back, or delete the LUN',
    })
  }

  /**
   * What the log on the disk has of the store is in place on all members, durably, and counts no more: nobody would do it again in the new place.
   * @returns false when a disk left service for it
   */
  private async settleLog(bound: number): Promise<boolean> {
    if (!this.from.inService) return true
    for (const disk of this.stores.members.disksOf(this.store)) if (disk.inService && !(await this.try(disk, () => disk.flush()))) return false
    return this.try(this.from, () => this.stores.voidLogged(this.store, slicesOf(bound)))
  }

  private take(member: number, leaving: readonly number[], taken: readonly Member[]): Promise<Member> {
    const { table } = this.stores
    const others = table.membersOf(this.store).map(({ disk }, other) => {
      const moved = leaving.indexOf(other)
      return moved < 0 ? disk : taken[moved]?.disk
    })
    return this.pool.takeMember(table.raid(this.store), member, others)
  }

  /** Takes the host's blocks and puts what was read into the new places, durably. @returns false when one of these left service */
  private async fill(held: readonly Held[], targets: readonly Member[], bound: number): Promise<boolean> {
    const { pool } = this
    for (const { disk: number, segment } of targets) {
      const disk = pool.disk(number)
      for (const { from, count } of runsOfSlices(slicesOf(bound)))
        if (!(await this.try(disk, () => disk.reserve(segment, from * SLICE_ON_MEMBER, count * SLICE_ON_MEMBER)))) return false
    }
    const copied = held.flatMap((one, i) => (one.slices.length > 0 ? [{ ...one, target: targets[i]! }] : []))
    if (copied.length === 0) return true
    // What may hold bytes does not count as clean, whenever a crash comes.
    const ahead = new Batch()
    for (const { target } of copied) pool.segments.get(target.disk)!.fillAhead(target.segment, ahead)
    await pool.metadata.commit(ahead, 'data', true)
    for (const { target, slices, bytes } of copied) {
      const disk = pool.disk(target.disk)
      for (const { from, count } of runsOfSlices(slices)) {
        const at = from * SLICE_ON_MEMBER
        const part = bytes.subarray(at, at + count * SLICE_ON_MEMBER)
        if (!(await this.try(disk, () => disk.write(target.segment, at, [part], part.length)))) return false
      }
    }
    for (const disk of new Set(copied.map(({ target }) => pool.disk(target.disk)))) if (!(await this.try(disk, () => disk.flush()))) return false
    return true
  }

  /** @returns false when the disk failed, and is out of service durably */
  private async try(disk: PoolDisk, action: () => Promise<void>): Promise<boolean> {
    try {
      await action()
      return true
    } catch (error) {
      if (!isDisksFault(error) || isCode(error, 'ERR_HOST_FULL')) throw error
      await this.pool.failDisk(disk, error)
      return false
    }
  }

  private commit(held: readonly Held[], targets: readonly Member[], bound: number): Promise<void> {
    const { pool, store } = this
    const { bits, members, table } = this.stores
    const redundant = members.isRedundant(store)
    // A disk that had the other copy may have left since it was read.
    for (const { member, slices } of held) this.requireElsewhere(member, bound & ~maskOf(slices))
    const batch = new Batch()
    const old = held.map(({ member }) => ({ disk: table.diskOf(store, member), segment: table.segmentOf(store, member) }))
    for (const { member, slices } of held) {
      for (let slice = 0; slice < SLICES; slice++) {
        const isBound = (bound & (1 << slice)) !== 0
        if (!isBound || this.discard) bits.clearStale(store, slice, member)
        else if (!slices.includes(slice)) bits.setStale(store, slice, member)
      }
    }
    if (redundant) bits.putStale(store, batch)
    for (const [i, { member }] of held.entries()) table.setMember(store, member, targets[i]!, batch)
    pool.bindMembers(targets, batch)
    pool.noteMembers(table.membersOf(store), batch)
    pool.freeMembers(old, batch)
    return pool.metadata.commit(batch, 'data', true)
  }
}

/** Crash states in the middle of one metadata write: that write torn, those beside it there or not, all before it there. */
import type { Random } from '../../src/core/base/random.ts'
import { SimulatedDisk } from '../../src/core/block/simulated.ts'
import type { SparsePages } from '../../src/core/block/sparse-pages.ts'
import { applyChange, type Change, type Tape } from '../../src/core/block/tape.ts'

const SECTOR = 512

/** One byte a sector: 1 where the new bytes arrived. */
export type Tear = Uint8Array

/** Every prefix of whole sectors but none and all, and `subsets` random ones. Long writes are torn at up to `prefixes` places. */
export function tearsOf(length: number, random: Random, subsets = 8, prefixes = 24): Tear[] {
  const sectors = length / SECTOR
  const step = Math.max(1, Math.ceil((sectors - 1) / prefixes))
  const tears: Tear[] = []
  for (let there = 1; there < sectors; there += step) tears.push(new Uint8Array(sectors).fill(1, 0, there))
  for (let i = 0; i < subsets; i++) tears.push(Uint8Array.from({ length: sectors }, () => random.below(2)))
  return tears
}

export function tear(pages: SparsePages, change: Change, there: Tear): void {
  for (const [sector, kept] of there.entries()) if (kept) applyChange(pages, change, sector * SECTOR, SECTOR)
}

export interface TornState {
  readonly change: Change
  /** Events of the tape that are over. */
  readonly cut: number
  /** The disks with that write torn so; writes in flight beside it are there or not. */
  make(there: Tear, othersThere: boolean): SimulatedDisk[]
}

/** Goes along a tape and stops at each durable write: that is how all metadata is written. */
export function* tornStates(tape: Tape): Generator<TornState> {
  const now = tape.disks.map(disk => disk.baseline.fork())
  const inFlight = new Set<Change>()
  for (const [cut, event] of tape.events.entries()) {
    if (event.kind === 'issue') inFlight.add(event.change)
    if (event.kind !== 'complete') continue
    const { change } = event
    inFlight.delete(change)
    if (change.kind === 'durable') {
      const make = (there: Tear, othersThere: boolean): SimulatedDisk[] =>
        tape.disks.map((disk, index) => {
          const pages = now[index]!.branch()
          if (othersThere) for (const other of inFlight) if (other.disk === index) applyChange(pages, other)
          if (change.disk === index) tear(pages, change, there)
          return new SimulatedDisk(pages.size, { name: disk.name, contents: pages })
        })
      yield { change, cut, make }
    }
    applyChange(now[change.disk]!, change)
  }
}

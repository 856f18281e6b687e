/** Makes the disks that a crash may leave behind, from a tape. */
import { invariant } from '../base/errors.ts'
import type { Random } from '../base/random.ts'
import { SECTOR, alignDown } from '../base/units.ts'
import { SimulatedDisk, type SimulatedOptions } from './simulated.ts'
import { PAGE, type SparsePages } from './sparse-pages.ts'
import { DurableTail, applyChange, pageSum, type Change, type Tape } from './tape.ts'

/** What became of one change that was not certain: all of it, none, or some of its 512-byte sectors (1 = there). */
export interface CrashChoice {
  readonly change: Change
  readonly fate: 'present' | 'absent' | Uint8Array
}

export interface CrashState {
  readonly cut: number
  readonly disks: readonly SimulatedDisk[]
  /** A whole number below 2^53. Equal for equal contents of all disks, different for different ones but for chance (2^-53). */
  readonly hash: number
  /** Durable writes and flushes completed before the cut: a state counts after at least one (hazard 56). */
  readonly acknowledged: number
  readonly choices: readonly CrashChoice[]
}

/** One disk on the way through the tape. */
class DiskAtCut {
  readonly tail: DurableTail
  readonly inFlight = new Set<Change>()
  /** Checksums of the pages of `tail.stable` that were changed since the baseline. */
  private readonly sums = new Map<number, number>()
  private readonly baseSums = new Map<number, number>()
  private readonly touched = new Set<number>()
  /** The two words of the hash of `tail.stable` against the baseline. */
  low = 0
  high = 0

  constructor(
    private readonly index: number,
    readonly name: string,
    private readonly baseline: SparsePages,
  ) {
    this.tail = new DurableTail(baseline.fork())
  }

  settle(cut: number): void {
    if (!this.tail.changes.some(change => change.durableAt < cut)) return
    this.tail.stable = this.tail.stable.thawed() // states made before look through the old one
    this.tail.settle(
      change => change.durableAt < cut,
      change => {
        for (let at = alignDown(change.offset, PAGE); at < change.offset + change.length; at += PAGE) this.touched.add(at / PAGE)
      },
    )
    for (const page of this.touched) {
      const sum = pageSum(this.tail.stable, page)
      this.mix(page, this.sumOf(page), sum)
      this.sums.set(page, sum)
    }
    this.touched.clear()
  }

  /** Hash words of pages that lie over the stable ones. */
  hashOf(pages: SparsePages): { low: number; high: number } {
    const before = { low: this.low, high: this.high }
    for (const page of pages.changed()) this.mix(page, this.sumOf(page), pageSum(pages, page))
    const after = { low: this.low, high: this.high }
    Object.assign(this, before)
    return after
  }

  private sumOf(page: number): number {
    const known = this.sums.get(page) ?? this.baseSums.get(page)
    if (known !== undefined) return known
    const sum = pageSum(this.baseline, page)
    this.baseSums.set(page, sum)
    return sum
  }

  /** Takes one page's contents out of the hash and puts others in. */
  private mix(page: number, before: number, after: number): void {
    if (before === after) return
    const place = Math.imul(page + 1, 0x9e3779b1) ^ Math.imul(this.index + 1, 0x85ebca77)
    this.low ^= scramble(before ^ place, 0x7feb352d, 0x846ca68b) ^ scramble(after ^ place, 0x7feb352d, 0x846ca68b)
    this.high ^= scramble(before + place, 0x2c1b3c6d, 0x297a2d39) ^ scramble(after + place, 0x2c1b3c6d, 0x297a2d39)
  }
}

/** A permutation of 32-bit words in which every bit of the input reaches every bit of the output. */
function scramble(word: number, a: number, b: number): number {
  let mixed = word ^ (word >>> 16)
  mixed = Math.imul(mixed, a)
  mixed = Math.imul(mixed ^ (mixed >>> 15), b)
  return mixed ^ (mixed >>> 16)
}

/**
 * Goes along a tape and makes crash states at cuts. Going forward costs what was recorded in between; a state costs
 * what is not certain at its cut. Going back starts again from the baseline.
 */
export class CrashExplorer {
  private position = 0
  private acknowledged = 0
  private disks: DiskAtCut[]

  constructor(private readonly tape: Tape) {
    this.disks = this.start()
  }

  private start(): DiskAtCut[] {
    this.position = 0
    this.acknowledged = 0
    return this.tape.disks.map((disk, index) => new DiskAtCut(index, disk.name, disk.baseline))
  }

  /** Goes to the moment after the first `cut` events, 0 to `tape.length`. */
  at(cut: number): this {
    invariant(cut >= 0 && cut <= this.tape.length, `a cut lies on the tape, ${cut} does not`)
    if (cut < this.position) this.disks = this.start()
    for (; this.position < cut; this.position++) this.step(this.position)
    for (const disk of this.disks) disk.settle(cut)
    return this
  }

  private step(position: number): void {
    const event = this.tape.events[position]!
    switch (event.kind) {
      case 'issue':
        this.disks[event.change.disk]!.inFlight.add(event.change)
        break
      case 'complete':
      case 'fail': {
        const disk = this.disks[event.change.disk]!
        disk.inFlight.delete(event.change)
        disk.tail.add(event.change)
        if (event.change.durableAt === position) this.acknowledged++
        break
      }
      case 'flush-complete':
        this.acknowledged++
        break
      case 'flush-issue':
      case 'flush-fail':
      case 'mark':
        break
      case 'drop': {
        const disk = this.disks[event.disk]!
        disk.settle(position)
        disk.tail.changes = disk.tail.changes.filter(change => change.droppedAt !== position)
        break
      }
    }
  }

  /**
   * The disks as one crash at this cut may leave them. Certain changes are there; each other one that was issued is
   * there, is not, or is torn, as `random` decides. How much survives is itself drawn at random, now for all disks and now
   * for each, so that "all of it", "nothing", and disks that differ widely are frequent.
   */
  state(random: Random, options: Omit<SimulatedOptions, 'contents' | 'name'> = {}): CrashState {
    const choices: CrashChoice[] = []
    const shared = random.chance(0.5) ? random.pick(survivalRates) : undefined
    const cut = this.position
    let low = 0
    let high = 0
    const disks = this.disks.map(disk => {
      const rate = shared ?? random.pick(survivalRates)
      const pages = disk.tail.stable.fork()
      const uncertain = (change: Change): void => {
        const fate = fateOf(change, rate, random)
        choices.push({ change, fate })
        applyFate(pages, change, fate)
      }
      for (const change of disk.tail.changes) {
        if (change.durableAt < cut) applyChange(pages, change)
        else uncertain(change)
      }
      for (const change of disk.inFlight) uncertain(change)
      const words = disk.hashOf(pages)
      low ^= words.low
      high ^= words.high
      return new SimulatedDisk(pages.size, { ...options, name: disk.name, contents: pages })
    })
    return { cut, disks, hash: (high & 0x1fffff) * 2 ** 32 + (low >>> 0), acknowledged: this.acknowledged, choices }
  }
}

const survivalRates = [0, 0.1, 0.5, 0.5, 0.9, 1]
const tearRate = 0.2

function fateOf(change: Change, rate: number, random: Random): CrashChoice['fate'] {
  const sectors = Math.ceil(change.length / SECTOR)
  if (rate === 0 || rate === 1 || sectors === 1 || !random.chance(tearRate)) return random.chance(rate) ? 'present' : 'absent'
  const there = new Uint8Array(sectors)
  if (random.chance(0.5)) {
    const edge = random.between(1, sectors - 1) // the first part, or the last
    if (random.chance(0.5)) there.fill(1, 0, edge)
    else there.fill(1, edge)
    return there
  }
  const run = sectors <= 64 ? 1 : Math.ceil(sectors / 64) // long changes tear in pieces, which keeps a state cheap
  for (let at = 0; at < sectors; at += run) if (random.chance(0.5)) there.fill(1, at, at + run)
  return there
}

function applyFate(pages: SparsePages, change: Change, fate: CrashChoice['fate']): void {
  if (fate === 'present') applyChange(pages, change)
  if (typeof fate === 'string') return
  for (let from = 0; from < fate.length;) {
    let to = from + 1
    while (to < fate.length && fate[to] === fate[from]) to++
    if (fate[from]) applyChange(pages, change, from * SECTOR, Math.min(to * SECTOR, change.length) - from * SECTOR)
    from = to
  }
}

/** For messages of failed tests: what was lost, torn and kept. */
export function describeCrash(state: CrashState): string {
  const lines = state.choices.map(({ change, fate }) => {
    const text = typeof fate === 'string' ? fate : `torn ${fate.join('')}`
    return `  disk ${change.disk} ${change.kind} ${change.offset}+${change.length}: ${text}`
  })
  return [`crash after event ${state.cut}, state ${state.hash}`, ...lines].join('\n')
}

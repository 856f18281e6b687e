/** What simulated disks record: every operation in one order over all disks, and from when on each write is certain to survive. */
import { crc32c } from '../base/crc32c.ts'
import { PAGE, zeroPage, type SparsePages } from './sparse-pages.ts'

export type ChangeKind = 'write' | 'durable' | 'punch' | 'zero'

/** One change of a disk's contents. Positions are indexes in the list of events; `Infinity` is never. */
export interface Change {
  readonly kind: ChangeKind
  readonly disk: number
  readonly offset: number
  readonly length: number
  /** A copy of what was written; undefined for zeros. */
  readonly data: Uint8Array | undefined
  readonly issuedAt: number
  /** Position of the completion, or of the failure. */
  endedAt: number
  /** Reported as failed: whatever of it is on the disk never becomes certain. */
  failed: boolean
  /** From this event on it survives every crash. */
  durableAt: number
  /** From this event on it is gone (`dropUnflushed`). */
  droppedAt: number
}

export type TapeEvent =
  | { readonly kind: 'issue' | 'complete' | 'fail'; readonly change: Change }
  | { readonly kind: 'flush-issue' | 'flush-complete' | 'flush-fail' | 'drop'; readonly disk: number }
  | { readonly kind: 'mark'; readonly label: string }

/** Where a disk counts its events: a tape, or nothing but a counter. */
export interface Recorder {
  /** @returns the event's position */
  record(event: TapeEvent): number
}

/** Counts without keeping anything. */
export class EventCounter implements Recorder {
  constructor(private position = 0) {}

  record(): number {
    return this.position++
  }
}

/** What a tape needs of a disk. */
export interface Recordable {
  readonly name: string
  readonly size: number
  readonly unflushed: number
  /** From now on the disk records here, as disk `index`. @returns its frozen contents as they are now */
  startRecording(recorder: Recorder, index: number): SparsePages
  /** From now on it only counts, further than the tape did. */
  stopRecording(counter: EventCounter): void
}

/** A disk as it was when the tape began. */
export interface TapeDisk {
  readonly name: string
  readonly baseline: SparsePages
}

/**
 * One order of events over several simulated disks, from a base snapshot on. A *cut* at `n` is a crash after the first
 * `n` events; `CrashExplorer` makes the disks that may be found then.
 */
export class Tape implements Recorder {
  readonly events: TapeEvent[] = []
  readonly disks: readonly TapeDisk[]

  /** Starts to record. Every disk must be without unflushed writes: what it holds now is what every crash leaves at least. */
  constructor(private readonly recorded: readonly Recordable[]) {
    const dirty = recorded.find(disk => disk.unflushed > 0)
    if (dirty) throw new Error(`a tape cannot start: ${dirty.name} has ${dirty.unflushed} unflushed writes`)
    this.disks = recorded.map((disk, index) => ({ name: disk.name, baseline: disk.startRecording(this, index) }))
  }

  /** Events so far: the cut that is "now". */
  get length(): number {
    return this.events.length
  }

  record(event: TapeEvent): number {
    return this.events.push(event) - 1
  }

  /** Marks a point for the test, such as "acknowledged". @returns the cut right after the mark */
  mark(label: string): number {
    this.record({ kind: 'mark', label })
    return this.length
  }

  /** The disks no longer record here. */
  stop(): void {
    for (const disk of this.recorded) disk.stopRecording(new EventCounter(this.length))
  }
}

const overlap = (a: Change, b: Change): boolean => a.offset < b.offset + b.length && b.offset < a.offset + a.length
const covers = (whole: Change, part: Change): boolean => whole.offset <= part.offset && whole.offset + whole.length >= part.offset + part.length

/** Whole pages inside of a change's data, made once: thousands of crash states share them, and their checksums. */
const pagesOf = new WeakMap<Change, Map<number, Uint8Array>>()
const sums = new WeakMap<Uint8Array, number>()
const UNKNOWN = -1

function pageOf(change: Change, data: Uint8Array, index: number): Uint8Array {
  if (data.buffer === zeroPage.buffer) return zeroPage
  let pages = pagesOf.get(change)
  if (!pages) pagesOf.set(change, (pages = new Map<number, Uint8Array>()))
  let page = pages.get(index)
  if (!page) {
    page = data.subarray(index * PAGE - change.offset, (index + 1) * PAGE - change.offset)
    pages.set(index, page)
    sums.set(page, UNKNOWN)
  }
  return page
}

const zeroSum = crc32c(zeroPage)
sums.set(zeroPage, zeroSum)

/** The checksum of a page's contents; that of a page of zeros for a hole. */
export function pageSum(pages: SparsePages, index: number): number {
  const page = pages.page(index)
  if (!page) return zeroSum
  const known = sums.get(page)
  if (known !== undefined && known !== UNKNOWN) return known
  const sum = crc32c(page)
  if (known === UNKNOWN) sums.set(page, sum)
  return sum
}

/** Makes a change, or `length` bytes of it from byte `from` on. The change's data must never change afterwards. */
export function applyChange(pages: SparsePages, change: Change, from = 0, length = change.length): void {
  const { data } = change
  if (!data) return pages.punch(change.offset + from, length)
  const end = change.offset + from + length
  for (let at = change.offset + from; at < end;) {
    const index = Math.floor(at / PAGE)
    const to = Math.min(end, (index + 1) * PAGE)
    if (to - at === PAGE) pages.adopt(index, pageOf(change, data, index))
    else pages.write(at, data.subarray(at - change.offset, to - change.offset))
    at = to
  }
}

/**
 * What surely survives on a disk, and the ended changes above it in the order in which they took effect. A certain
 * change moves down unless an earlier change that is still above overlaps it; one that it covers whole no longer matters.
 */
export class DurableTail {
  changes: Change[] = []

  constructor(public stable: SparsePages) {}

  add(change: Change): void {
    this.changes.push(change)
  }

  /** Moves down what is certain now, and calls `moved` for it. */
  settle(isCertain: (change: Change) => boolean, moved?: (change: Change) => void): void {
    let above: Change[] = []
    for (const change of this.changes) {
      if (isCertain(change) && above.every(earlier => !overlap(earlier, change) || covers(change, earlier))) {
        if (above.some(earlier => overlap(earlier, change))) above = above.filter(earlier => !covers(change, earlier))
        applyChange(this.stable, change)
        moved?.(change)
      } else {
        above.push(change)
      }
    }
    this.changes = above
  }
}

/** What a pool must contain: a list of what was asked of it and answered, and the rule which of it may be found when. */
import { ROW, survivesOf, type Redundancy } from '../../src/core/raid/geometry.ts'
import { SECTOR } from '../../src/core/base/units.ts'
import type { RelationModel } from './relation-model.ts'
import type { SnapshotModel } from './snapshot-model.ts'
import { LOST, ZERO } from './stamps.ts'

/** A moment of a run: `tick` orders what the clients saw, `position` counts the events of the tape so far, which is a cut. */
export interface Moment {
  readonly tick: number
  readonly position: number
}

/** A write, what makes zeros of a range, or what makes it that of another LUN. Sectors. */
export interface Change {
  readonly what: string
  readonly from: number
  readonly to: number
  /** The version its sectors have, `ZERO` for zeros; else what they may have, when it is asked. */
  readonly version: number | Contents
  readonly begun: Moment
  /** The call has returned, well or not. */
  ended?: Moment
  /** It returned well. */
  done?: boolean
  /** A flush that began after it had returned well has returned well. */
  durable?: Moment
}

/** Which changes count: those that may have happened, and those that surely have. */
export interface View {
  begun(change: Change): boolean
  settled(change: Change): boolean
}

/** After a crash at a cut: what was asked before it may be there, what was flushed before it is. */
export const atCut = (cut: number): View => ({
  begun: change => change.begun.position < cut,
  settled: change => change.durable !== undefined && change.durable.position <= cut,
})

/** For a read between two moments of a running pool. */
export const between = (from: Moment, to: Moment): View => ({
  begun: change => change.begun.tick < to.tick,
  settled: change => change.done === true && change.ended !== undefined && change.ended.tick < from.tick,
})

/** What a LUN held when its record began. */
export interface Start {
  /** By sector; nothing beyond the end is zeros. */
  readonly versions: Uint32Array
  /** What each copy may still hold from before the last crash, until a resync has made them equal. */
  readonly before: readonly Allowed[]
}

/** Sectors [from, to) may have any of these versions, or what was there when one of these records began. */
export interface Allowed {
  readonly from: number
  readonly to: number
  readonly versions: readonly number[]
  readonly starts: readonly Start[]
}

/** What sectors may have become by a change that makes them those of another LUN; in order, without gaps. */
export interface Contents {
  readonly pieces: readonly Allowed[]
}

/** @param before what copies held before the last crash counts, too */
const allows = ({ versions, starts }: Omit<Allowed, 'from' | 'to'>, sector: number, version: number, before: boolean): boolean =>
  versions.includes(version) ||
  starts.some(
    start =>
      (start.versions[sector] ?? ZERO) === version ||
      (before && start.before.some(old => old.from <= sector && sector < old.to && allows(old, sector, version, true))),
  )

/** What a LUN holds at some moment of a call: known as far as it can be when the call has returned. */
export class Copied implements Contents {
  private frozen: readonly Allowed[] | undefined

  constructor(
    private readonly lun: LunModel,
    private readonly sectors: number,
    private readonly begun: Moment,
  ) {}

  get pieces(): readonly Allowed[] {
    return this.frozen ?? this.now()
  }

  private now(): readonly Allowed[] {
    return this.lun.allowed(0, this.sectors, {
      begun: () => true,
      settled: change => change.done === true && change.ended !== undefined && change.ended.tick < this.begun.tick,
    })
  }

  /** The call has returned: what comes later is not in it. */
  freeze(): void {
    this.frozen ??= this.now()
  }
}

/** The values that one thing of the pool had, each begun and acknowledged. */
export class History<T> {
  private entries: { value: T; begun: Moment; acked: Moment | undefined }[]

  constructor(value: T, start: Moment) {
    this.entries = [{ value, begun: start, acked: start }]
  }

  begin(value: T, begun: Moment): { value: T; begun: Moment; acked: Moment | undefined } {
    const entry = { value, begun, acked: undefined }
    this.entries.push(entry)
    return entry
  }

  /** The change was refused: nothing of it happened. */
  refuse(entry: { value: T }): void {
    this.entries = this.entries.filter(other => other !== entry)
  }

  /** Whether it ever had a value that fits. */
  everHad(fits: (value: T) => boolean): boolean {
    return this.entries.some(({ value }) => fits(value))
  }

  /** The newest value that is not undefined. */
  get lastDefined(): T | undefined {
    return this.entries.findLast(({ value }) => value !== undefined)?.value
  }

  /** The newest value that was asked for. */
  get last(): T {
    return this.entries.at(-1)!.value
  }

  /** What a crash at a cut may leave: the last acknowledged value or one asked for later. */
  allowedAt(cut: number): T[] {
    const last = this.entries.findLastIndex(({ acked }) => acked !== undefined && acked.position <= cut)
    return this.entries
      .slice(Math.max(0, last))
      .filter(({ begun }, i) => i === 0 || begun.position < cut)
      .map(({ value }) => value)
  }
}

/** What the directory says about a LUN; undefined while it does not exist. */
export type LunEntry = { readonly name: string; readonly size: number } | undefined

/** A sector that is not what the model allows. */
export class WrongSector extends Error {
  constructor(
    message: string,
    readonly uid: number,
    readonly sector: number,
  ) {
    super(message)
  }
}

const ROW_SECTORS = ROW / SECTOR

export class LunModel {
  readonly changes: Change[] = []
  readonly entry: History<LunEntry>
  /** What is left of an image that was let go half way: it holds anything, and must say so. */
  readonly wild: History<boolean>
  /** Calls under way that read or write it. */
  users = 0
  /** An administrative call is under way. */
  changing = false
  /** A call is under way that changes a relationship of it. */
  relating = false
  /** Trims under way: whether they do anything depends on what rests on it. */
  trimming = 0
  private known: { readonly cut: number; readonly changes: number; readonly sectors: number; readonly allowed: Allowed[] } | undefined

  constructor(
    /** In the stamps; never the same for two LUNs. */
    readonly uid: number,
    readonly raid: Redundancy,
    entry: LunEntry,
    start: Moment,
    readonly base: Start,
    wild = false,
    /** Rows that were being written as a whole in an earlier crash: without a disk they may be anything as long as nothing has verified their parity. */
    readonly torn: readonly { from: number; to: number }[] = [],
  ) {
    this.entry = new History(entry, start)
    this.wild = new History(wild, start)
  }

  /** Nobody may write to it. */
  get isFrozen(): boolean {
    return false
  }
  get exists(): boolean {
    return this.entry.last !== undefined
  }
  get name(): string {
    return this.entry.last?.name ?? ''
  }
  get sectors(): number {
    return (this.entry.last?.size ?? 0) / SECTOR
  }

  /** Everything that returned well before `flush` began is durable from `now` on. */
  flushed(flush: Moment, now: Moment): void {
    for (const change of this.changes) if (change.done && change.ended!.tick < flush.tick) change.durable ??= now
  }

  /** What was not flushed may be gone, and no flush that comes after can tell. */
  doubted(): void {
    for (const change of this.changes) if (!change.durable) change.done = false
  }

  /** What sectors [from, to) may hold. @param also changes that are not on record */
  allowed(from: number, to: number, view: View, also: readonly Change[] = []): Allowed[] {
    const here = [...this.changes, ...also].filter(change => change.from < to && from < change.to && view.begun(change))
    const copies = new Map(here.flatMap(change => (typeof change.version === 'number' ? [] : [[change, change.version.pieces] as const])))
    const edges = new Set([from, to])
    const edge = (at: number): void => void (at > from && at < to && edges.add(at))
    for (const change of here) {
      edge(change.from)
      edge(change.to)
      for (const piece of copies.get(change) ?? []) if (piece.from > change.from && piece.from < change.to) edge(piece.from)
    }
    const sorted = [...edges].sort((a, b) => a - b)
    const result: Allowed[] = []
    for (let i = 0; i + 1 < sorted.length; i++) {
      const start = sorted[i]!
      const touching = here.filter(change => change.from <= start && start < change.to)
      const settled = touching.filter(change => view.settled(change))
      const versions = new Set<number>()
      const starts = new Set(settled.length === 0 ? [this.base] : [])
      for (const change of touching) {
        if (settled.some(later => change.ended !== undefined && change.ended.tick < later.begun.tick)) continue
        if (typeof change.version === 'number') versions.add(change.version)
        else {
          const piece = copies.get(change)!.find(({ from: first, to: end }) => first <= start && start < end)
          for (const version of piece?.versions ?? []) versions.add(version)
          for (const one of piece?.starts ?? []) starts.add(one)
        }
      }
      const last = result.at(-1)
      if (last && sameItems(last.versions, versions) && sameItems(last.starts, starts)) result[result.length - 1] = { ...last, to: sorted[i + 1]! }
      else result.push({ from: start, to: sorted[i + 1]!, versions: [...versions], starts: [...starts] })
    }
    return result
  }

  /** What a crash at a cut may leave of the first sectors. */
  allowedAt(cut: number, sectors: number): readonly Allowed[] {
    const { known } = this
    if (known?.cut === cut && known.changes === this.changes.length && known.sectors === sectors) return known.allowed
    const allowed = this.allowed(0, sectors, atCut(cut))
    this.known = { cut, changes: this.changes.length, sectors, allowed }
    return allowed
  }

  /**
   * Holds what was found in sectors `at` and on to what is allowed there.
   * @param allowed in order, without gaps
   * @param lost sectors that cannot be read are allowed
   * @param garbled sectors of rows that were being written as a whole may be anything
   * @param before what copies held before the last crash is allowed where the base is
   */
  check(found: Uint32Array, at: number, allowed: readonly Allowed[], view: View, options: { lost?: boolean; before?: boolean; garbled?: boolean } = {}): void {
    for (const range of allowed) {
      const first = range.starts[0]?.versions
      if (first && sameVersions(found.subarray(range.from - at, range.to - at), first.subarray(range.from, range.to))) continue
      const [only] = range.versions
      for (let sector = range.from; sector < range.to; sector++) {
        const version = found[sector - at]!
        if (version === only || (first && version === (first[sector] ?? ZERO))) continue
        if (version === LOST && options.lost) continue
        if (options.garbled && (this.isWithinWholeRow(sector, view) || (first && this.torn.some(rows => rows.from <= sector && sector < rows.to)))) continue
        if (allows(range, sector, version, options.before === true)) continue
        throw new WrongSector(this.explain(sector, version, range, view), this.uid, sector)
      }
    }
  }

  /** Rows that are being written as a whole, and those that were in earlier crashes. */
  tornAt(view: View): { from: number; to: number }[] {
    const now = this.changes.filter(change => view.begun(change) && !view.settled(change))
    const rows = now.map(({ from, to }) => ({ from: Math.ceil(from / ROW_SECTORS) * ROW_SECTORS, to: to - (to % ROW_SECTORS) }))
    return [...rows.filter(({ from, to }) => from < to), ...this.torn]
  }

  /** Whether a write that has not settled writes all of the row of a sector. */
  private isWithinWholeRow(sector: number, view: View): boolean {
    const row = sector - (sector % ROW_SECTORS)
    return this.changes.some(change => change.from <= row && row + ROW_SECTORS <= change.to && view.begun(change) && !view.settled(change))
  }

  private explain(sector: number, version: number, { versions, starts }: Allowed, view: View): string {
    const wanted = [...starts.map(start => `${start.versions[sector] ?? ZERO} (from the start)`), ...versions.map(String)]
    const lines = this.changes
      .filter(change => change.from <= sector && sector < change.to)
      .map(change => {
        const seen = view.begun(change) ? (view.settled(change) ? 'settled' : 'begun') : 'later'
        const what = typeof change.version === 'number' ? `version ${change.version}` : 'contents'
        return `  ${change.what} ${change.from}-${change.to} ${what}: begun ${change.begun.position}, ended ${change.ended?.position ?? 'never'}${change.ended && !change.done ? ' (failed)' : ''}, durable ${change.durable?.position ?? 'never'}: ${seen}`
      })
    const value = version === LOST ? 'cannot be read' : `has version ${version}`
    return [`sector ${sector} of LUN ${this.uid} "${this.name}" (${this.raid}) ${value}, allowed: ${wanted.join(', ')}`, ...lines].join('\n')
  }
}

/** Compared as bytes, which is many times faster; of different lengths they are told to differ, and looked at one by one. */
const sameVersions = (a: Uint32Array, b: Uint32Array): boolean => a.length === b.length && Buffer.compare(asBytes(a), asBytes(b)) === 0
const asBytes = (words: Uint32Array): Uint8Array => new Uint8Array(words.buffer, words.byteOffset, words.byteLength)

const sameItems = <T>(list: readonly T[], set: ReadonlySet<T>): boolean => list.length === set.size && list.every(item => set.has(item))

/** Whether a LUN bears the loss of a disk. */
export const isRedundant = (raid: Redundancy): boolean => survivesOf[raid] > 0

/** What a whole pool must contain. */
export class PoolModel {
  /** By number in the pool. */
  readonly luns = new Map<number, LunModel>()
  readonly relations = new Map<number, RelationModel>()
  /** By label. */
  readonly snapshots = new Map<string, SnapshotModel>()
  readonly domains = new Map<number, History<string>>()
  readonly offline = new Map<number, History<boolean>>()

  constructor(
    readonly comment: History<string>,
    readonly diskCount: History<number>,
  ) {}

  get live(): LunModel[] {
    return [...this.luns.values()].filter(lun => lun.exists)
  }

  /** Everything that returned well is durable: the pool was closed. Where a disk failed, only a flush of its own said so for a LUN without redundancy. */
  closed(begun: Moment, now: Moment, faulted: boolean): void {
    for (const lun of [...this.luns.values(), ...this.snapshots.values()]) {
      if (isRedundant(lun.raid) || !faulted) lun.flushed(begun, now)
      else lun.doubted()
    }
  }
}

/** What a pool must contain: a list of what was asked of it and answered, and the rule which of it may be found when. */
import { ROW, survivesOf, type Redundancy } from '../../src/core/raid/geometry.ts'
import { SECTOR } from '../../src/core/base/units.ts'
import { LOST, ZERO } from './stamps.ts'

/** A moment of a run: `tick` orders what the clients saw, `position` counts the events of the tape so far, which is a cut. */
export interface Moment {
  readonly tick: number
  readonly position: number
}

/** A write, or what makes zeros of a range. Sectors. */
export interface Change {
  readonly what: string
  readonly from: number
  readonly to: number
  /** The version its sectors have, `ZERO` for zeros. */
  readonly version: number
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

/** Sectors [from, to) may have any of these versions, or what was there when the record began. */
export interface Allowed {
  readonly from: number
  readonly to: number
  readonly versions: readonly number[]
  readonly base: boolean
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
  /** Calls under way that read or write it. */
  users = 0
  /** An administrative call is under way. */
  changing = false

  constructor(
    /** In the stamps; never the same for two LUNs. */
    readonly uid: number,
    readonly raid: Redundancy,
    entry: LunEntry,
    start: Moment,
    /** The version of each sector when the record began. */
    public base: Uint32Array,
    /** What each copy may still hold from before the last crash, until a resync has made them equal. */
    readonly before: readonly Allowed[] = [],
    /** Rows that were being written as a whole in an earlier crash: without a disk they may be anything as long as nothing has verified their parity. */
    readonly torn: readonly { from: number; to: number }[] = [],
  ) {
    this.entry = new History(entry, start)
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

  /** What sectors [from, to) may hold. */
  allowed(from: number, to: number, view: View): Allowed[] {
    const here = this.changes.filter(change => change.from < to && from < change.to && view.begun(change))
    const edges = new Set([from, to])
    for (const change of here) {
      if (change.from > from) edges.add(change.from)
      if (change.to < to) edges.add(change.to)
    }
    const sorted = [...edges].sort((a, b) => a - b)
    const result: Allowed[] = []
    for (let i = 0; i + 1 < sorted.length; i++) {
      const start = sorted[i]!
      const touching = here.filter(change => change.from <= start && start < change.to)
      const settled = touching.filter(change => view.settled(change))
      const open = touching.filter(change => !settled.some(later => change.ended !== undefined && change.ended.tick < later.begun.tick))
      result.push({ from: start, to: sorted[i + 1]!, versions: [...new Set(open.map(change => change.version))], base: settled.length === 0 })
    }
    return result
  }

  /**
   * Holds what was found in sectors `at` and on to what is allowed there.
   * @param lost sectors that cannot be read are allowed
   * @param garbled sectors of rows that were being written as a whole may be anything
   * @param before what copies held before the last crash is allowed where the base is
   */
  check(found: Uint32Array, at: number, view: View, options: { lost?: boolean; before?: boolean; garbled?: boolean } = {}): void {
    for (const { from, to, versions, base } of this.allowed(at, at + found.length, view)) {
      for (let sector = from; sector < to; sector++) {
        const version = found[sector - at]!
        if (base && version === (this.base[sector] ?? ZERO)) continue
        if (versions.includes(version)) continue
        if (version === LOST && options.lost) continue
        if (options.garbled && (this.isWithinWholeRow(sector, view) || (base && this.torn.some(rows => rows.from <= sector && sector < rows.to)))) continue
        if (base && options.before && this.before.some(old => old.from <= sector && sector < old.to && old.versions.includes(version))) continue
        throw new WrongSector(this.explain(sector, version, { from, to, versions, base }, view), this.uid, sector)
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

  private explain(sector: number, version: number, allowed: Allowed, view: View): string {
    const wanted = [...(allowed.base ? [`${this.base[sector] ?? ZERO} (from the start)`] : []), ...allowed.versions.map(String)]
    const lines = this.changes
      .filter(change => change.from <= sector && sector < change.to)
      .map(change => {
        const seen = view.begun(change) ? (view.settled(change) ? 'settled' : 'begun') : 'later'
        return `  ${change.what} ${change.from}-${change.to} version ${change.version}: begun ${change.begun.position}, ended ${change.ended?.position ?? 'never'}${change.ended && !change.done ? ' (failed)' : ''}, durable ${change.durable?.position ?? 'never'}: ${seen}`
      })
    const value = version === LOST ? 'cannot be read' : `has version ${version}`
    return [`sector ${sector} of LUN ${this.uid} "${this.name}" (${this.raid}) ${value}, allowed: ${wanted.join(', ')}`, ...lines].join('\n')
  }
}

/** Whether a LUN bears the loss of a disk. */
export const isRedundant = (raid: Redundancy): boolean => survivesOf[raid] > 0

/** What a whole pool must contain. */
export class PoolModel {
  /** By number in the pool. */
  readonly luns = new Map<number, LunModel>()
  readonly domains = new Map<number, History<string>>()
  readonly offline = new Map<number, History<boolean>>()

  constructor(
    readonly comment: History<string>,
    readonly diskCount: History<number>,
  ) {}

  get live(): LunModel[] {
    return [...this.luns.values()].filter(lun => lun.exists)
  }

  /** Everything that returned well is durable: the pool was closed. Where a disk failed, a flush of its own says so for a LUN without redundancy. */
  closed(begun: Moment, now: Moment, faulted: boolean): void {
    for (const lun of this.luns.values()) if (isRedundant(lun.raid) || !faulted) lun.flushed(begun, now)
  }
}

/** Small writes to parity that are made at once but for the wait for the log: no promise, and buffers that are used again. */
import type { Release } from '../block/range-lock.ts'
import type { LogPiece } from '../../metadata/parity-group.ts'
import { COLUMNS, PARITY_MEMBER, ROW, SLICE, UNIT } from '../raid/geometry.ts'
import { xorOf } from '../raid/xor.ts'
import type { LogTicket, LogWaiter, ParityLog } from './parity-log.ts'
import type { ParityStore } from './parity-store.ts'
import type { StoreSet } from './store-io.ts'

/** Buffers of a LUN that are kept, at most. */
const SPARE_MAX = 64

/** What small writes need besides what all writing does. */
interface SmallWritesHost extends StoreSet {
  endWrite(store: number, at: number, length: number): void
  noteWritten(store: number): void
}

/**
 * Makes small writes of one LUN. Each keeps its range locked, and its slice open, until it is in place; until then it is one that was
 * acknowledged ahead (block/hold.ts).
 */
export class SmallWrites {
  private readonly spare: Uint8Array[] = []
  private readonly old = [new Uint8Array(0), new Uint8Array(0)]

  constructor(
    readonly set: SmallWritesHost,
    readonly parities: ParityStore,
  ) {}

  /**
   * Reads what the write replaces and asks the log, where that needs no waiting. The range lies in one unit of an open slice whose members are all
   * current, and is locked; on success `beginWrite` is to be called in the same turn.
   * @returns undefined when the usual way must be taken; nothing was done then
   */
  begin(store: number, at: number, data: Uint8Array, release: Release): SmallWrite | undefined {
    const { host, lun, members, table } = this.set
    const { length } = data
    const parityDisk = members.disk(store, PARITY_MEMBER)
    const log = host.logs.get(parityDisk.number)
    if (!log?.takesAtOnce) return undefined
    const column = Math.floor(at / UNIT) % COLUMNS
    const disk = members.disk(store, column)
    const onMember = Math.floor(at / ROW) * UNIT + (at % UNIT)
    const old = [this.oldOf(0, length), this.oldOf(1, length)]
    if (!disk.tryRead(table.segmentOf(store, column), onMember, old[0]!)) return undefined
    if (!parityDisk.tryRead(table.segmentOf(store, PARITY_MEMBER), onMember, old[1]!)) return undefined
    const last = this.spare.at(-1)
    const buffer = last?.length === 2 * length ? this.spare.pop()! : new Uint8Array(2 * length)
    const bytes = buffer.subarray(0, length)
    bytes.set(data)
    const parity = buffer.subarray(length)
    old.push(bytes)
    xorOf(parity, old)
    const write = new SmallWrite(
      this,
      store,
      at,
      log,
      buffer,
      { member: column, at: onMember, bytes },
      { member: PARITY_MEMBER, at: onMember, bytes: parity },
      release,
    )
    log.post({ key: { lun, store, generation: table.generation(store) }, slice: write.slice, pieces: [write.bytes, write.parity] }, [disk, parityDisk], write)
    return write
  }

  private oldOf(index: 0 | 1, length: number): Uint8Array {
    if (this.old[index]!.length < length) this.old[index] = new Uint8Array(length)
    return this.old[index]!.length === length ? this.old[index]! : this.old[index]!.subarray(0, length)
  }

  giveBack(buffer: Uint8Array): void {
    if (this.spare.length < SPARE_MAX) this.spare.push(buffer)
  }
}

/** A small write whose bytes are on their way into the log, and then in place. */
export class SmallWrite implements LogWaiter {
  /** Called once, when it has ended, with its failure when it failed. */
  onEnd: ((failure?: { readonly error: unknown }) => void) | undefined

  constructor(
    private readonly writes: SmallWrites,
    private readonly store: number,
    private readonly at: number,
    private readonly log: ParityLog,
    private readonly buffer: Uint8Array,
    readonly bytes: LogPiece,
    readonly parity: LogPiece,
    private readonly release: Release,
  ) {}

  get slice(): number {
    return Math.floor(this.at / SLICE)
  }

  logged(ticket: LogTicket): void {
    // The column first: a write that fails on its last member has changed no parity.
    const placed = this.putNow(this.bytes)
    if (placed && this.putNow(this.parity)) {
      this.log.written(ticket)
      this.writes.giveBack(this.buffer)
      this.end()
      return
    }
    this.endWith(this.writes.parities.place(this.store, this.slice, this.bytes.bytes.length, placed ? [] : [this.bytes], [this.parity], this.log, ticket))
  }

  failed(error: unknown): void {
    this.endWith(this.again(error))
  }

  /** Without the log's disk. */
  private async again(error: unknown): Promise<void> {
    await this.writes.parities.logFailed(this.store, this.slice, this.bytes.bytes.length, error)
    await this.writes.parities.write(this.store, this.at, this.bytes.bytes)
  }

  private putNow({ member, at, bytes }: LogPiece): boolean {
    const { members, table } = this.writes.set
    return members.disk(this.store, member).tryWrite(table.segmentOf(this.store, member), at, bytes)
  }

  private endWith(written: Promise<void>): void {
    written.then(
      () => {
        this.end()
      },
      (error: unknown) => {
        this.end({ error })
      },
    )
  }

  private end(failure?: { readonly error: unknown }): void {
    const { set } = this.writes
    if (!failure) set.noteWritten(this.store)
    set.endWrite(this.store, this.at, this.bytes.bytes.length)
    this.release()
    this.onEnd?.(failure)
  }
}

/** Write-once devices: one write a block, whole and durable or not at all (Symantec; features.md E1). */
import { LunarError } from '../base/errors.ts'
import { crc32c } from '../base/crc32c.ts'
import { Mutex } from '../base/mutex.ts'
import { isZero } from '../base/zeros.ts'
import type { Extent } from './device.ts'
import { checkRange } from './range.ts'
import { RangeLock } from './range-lock.ts'

/** A write is cut at this, so that what is not committed yet stays bounded. Bytes. */
const PIECE = 1024 * 1024
/** Blocks given up, or recorded as zeros, in one commit. */
const CLEAR_STEP = 1024

/**
 * A device that takes one write a block. Offsets and lengths are bytes and whole blocks; addresses are those of the volume
 * that it is made for. A write is durable when it resolves: there is nothing to flush.
 */
export interface WriteOnceDevice {
  readonly name: string
  readonly size: number
  readonly blockSize: number
  /**
   * Each block on its own: what is not written yet is written, the same bytes again are well, other bytes are refused. So all
   * blocks of the range are written when it resolves, and also when it rejects with `ERR_ALREADY_WRITTEN`: a copier has what it wants.
   * @throws LunarError `ERR_ALREADY_WRITTEN`, and what the space below throws when it has no room: `ERR_HOST_FULL`, `ERR_POOL_FULL`, `ERR_METADATA_FULL`
   */
  write(offset: number, data: Uint8Array): Promise<void>
  /** Writes zeros, which take no space: the same rules as for `write`. @throws LunarError `ERR_ALREADY_WRITTEN`, `ERR_METADATA_FULL` */
  zero(offset: number, length: number): Promise<void>
  /** @throws LunarError `ERR_UNWRITTEN` when a block of the range is not written, `ERR_DATA_LOST` when one is not what was written */
  read(offset: number, into: Uint8Array): Promise<void>
  /** Puts the bytes of written blocks into their places and leaves the others as they are. @throws LunarError `ERR_DATA_LOST` */
  overlay(offset: number, into: Uint8Array): Promise<void>
  /** What is written (`data`) and what is not (`hole`), in order. */
  extents(offset: number, length: number): Promise<Extent[]>
  /** The blocks of the range are as if they had never been written, and take no space. */
  reallocate(offset: number, length: number): Promise<void>
  /**
   * All blocks become unwritten with what `commit` makes durable, whatever their number; nobody writes meanwhile. `release` gives back the
   * space that they held, behind it.
   */
  renew(commit: () => Promise<void>): Promise<void>
  /** Gives back a bounded part of the space of blocks that are written no more. @returns whether something is left */
  release(): Promise<boolean>
}

/** Where a block's bytes lie, and their crc32c. */
export interface Place {
  readonly slot: number
  readonly crc: number
}
export interface PlacedBlock extends Place {
  readonly block: number
}

/** Stands for the slot of a block of zeros, which lies nowhere. On disk, plus 1, it is the largest u32. */
export const ZEROS = 0xffff_fffe

/** Those of the written blocks that lie in a slot. */
export async function* inSlots(written: AsyncIterable<PlacedBlock>): AsyncGenerator<PlacedBlock> {
  for await (const placed of written) if (placed.slot !== ZEROS) yield placed
}

/** Which blocks are written: the truth about it, whatever the host says of holes (hazard 25). */
export interface WriteOnceMap {
  /** Makes the blocks [from, to) known to `get`; undefined when they are. What was loaded stays until something is awaited. */
  load(from: number, to: number): Promise<void> | undefined
  get(block: number): Place | undefined
  /** Durable, and seen by `get`, when it resolves. */
  put(blocks: readonly PlacedBlock[]): Promise<void>
  clear(blocks: readonly number[]): Promise<void>
  /** Every block becomes unwritten in one commit. */
  clearAll(): Promise<void>
  /** Every block has become unwritten in a commit of somebody else. */
  renewed(): void
  /** Written blocks of [from, to), in order. */
  written(from: number, to: number): AsyncIterable<PlacedBlock>
}

/** Calls `each` with the runs of blocks of [from, to) that lie in no slot, one after the other; they stay so until it has ended. */
export type Unwritten = (from: number, to: number, each: (from: number, to: number) => Promise<void>) => Promise<void>

/** Room for blocks, in slots of one block. A slot holds something when it is durable and the map names it, not before. */
export interface WriteOnceSpace {
  /** Slots for the first of these blocks, for one at least. Whoever takes some takes no more until it has kept or dropped them. */
  take(blocks: readonly number[]): Promise<number[]>
  /** The map names them now, durably. */
  keep(slots: readonly number[]): void
  /** They were taken, and the map will never name them. */
  drop(slots: readonly number[]): void
  /** The map named them, and durably does no more; nobody reads them. */
  free(slots: readonly number[]): Promise<void>
  /** Runs a change after which the map names no slot, while no block is moved. What the slots held is left to `release`. */
  forgetAll(change: () => Promise<void>): Promise<void>
  /** Gives back a bounded part of what `forgetAll` left, and nothing that was written since. @returns whether something is left */
  release(unwritten: Unwritten): Promise<boolean>
  /** `data` is whole slots, one after the other. */
  write(slot: number, data: Uint8Array): Promise<void>
  /** The slot may be moved elsewhere only after reads that were started before. */
  read(slot: number, into: Uint8Array): Promise<void>
  flush(): Promise<void>
  /** Runs a change of the map while no block is moved. */
  alone(change: () => Promise<void>): Promise<void>
}

/** A write-once device made of a map and a space: the same rules, whatever lies below. */
export class WriteOnce implements WriteOnceDevice {
  private readonly lock = new RangeLock()
  private readonly releasing = new Mutex()
  private zerosCrc: number | undefined

  /** @param name for messages */
  constructor(
    readonly name: string,
    readonly size: number,
    readonly blockSize: number,
    private readonly map: WriteOnceMap,
    private readonly space: WriteOnceSpace,
  ) {}

  async write(offset: number, data: Uint8Array): Promise<void> {
    this.check(offset, data.length)
    const step = Math.max(PIECE, this.blockSize)
    await this.inPieces(offset, data.length, step, (at, length) => {
      const bytes = data.subarray(at - offset, at - offset + length)
      return this.writePiece(at, this.partsOf(bytes), bytes)
    })
  }

  async zero(offset: number, length: number): Promise<void> {
    this.check(offset, length)
    const block = new Uint8Array(length === 0 ? 0 : this.blockSize)
    await this.inPieces(offset, length, CLEAR_STEP * this.blockSize, (at, size) =>
      this.writePiece(
        at,
        Array.from({ length: size / this.blockSize }, () => block),
        block,
      ),
    )
  }

  /** @param write gives the first block that holds other bytes */
  private async inPieces(offset: number, length: number, step: number, write: (offset: number, length: number) => Promise<number | undefined>): Promise<void> {
    let refused: number | undefined
    for (let at = 0; at < length; at += step) {
      const found = await write(offset + at, Math.min(step, length - at))
      refused ??= found
    }
    if (refused !== undefined)
      throw new LunarError('ERR_ALREADY_WRITTEN', `Cannot write to ${this.name}`, { why: `the block at byte ${refused * this.blockSize} holds other bytes` })
  }

  /**
   * @param parts of each block the bytes; those that are not zeros lie one after the other in `data`
   * @returns the first block that holds other bytes; the others are written when it resolves
   */
  private async writePiece(offset: number, parts: readonly Uint8Array[], data: Uint8Array): Promise<number | undefined> {
    const from = offset / this.blockSize
    const blank = parts.map(part => isZero(part))
    const crcs = parts.map((part, i) => (blank[i] ? this.crcOfZeros : crc32c(part)))
    const release = await this.lock.lock(offset, parts.length * this.blockSize, 'exclusive')
    try {
      const others = await this.atPlaces(from, parts.length, (place, i) => place && this.differs(from + i, place, crcs[i]!, parts[i]!))
      const missing = parts.map((_, i) => i).filter(i => others[i] === undefined)
      const full = missing.filter(i => !blank[i])
      let zeros: PlacedBlock[] = missing.filter(i => blank[i]).map(i => ({ block: from + i, slot: ZEROS, crc: this.crcOfZeros }))
      for (let done = 0; done < full.length; zeros = []) done += await this.writeNew(from, full.slice(done), data, crcs, zeros)
      if (zeros.length > 0) await this.map.put(zeros)
      const other = others.indexOf(true)
      return other < 0 ? undefined : from + other
    } finally {
      release()
    }
  }

  private get crcOfZeros(): number {
    return (this.zerosCrc ??= crc32c(new Uint8Array(this.blockSize)))
  }

  private async differs(block: number, place: Place, crc: number, data: Uint8Array): Promise<boolean> {
    if (place.crc !== crc) return true
    if (place.slot === ZEROS) return !isZero(data)
    const found = new Uint8Array(this.blockSize)
    await this.space.read(place.slot, found)
    this.verify(block, place, found)
    return Buffer.compare(found, data) !== 0
  }

  /**
   * Data, flush, then the record that names it: after a crash a block is whole or unwritten.
   * @param zeros blocks that are recorded in the same commit
   * @returns how many blocks it wrote
   */
  private async writeNew(from: number, missing: readonly number[], data: Uint8Array, crcs: readonly number[], zeros: readonly PlacedBlock[]): Promise<number> {
    const slots = await this.space.take(missing.map(i => from + i))
    try {
      for (const run of slotRuns(slots, missing)) {
        const first = missing[run.from]! * this.blockSize
        await this.space.write(slots[run.from]!, data.subarray(first, first + (run.to - run.from) * this.blockSize))
      }
      await this.space.flush()
      await this.map.put([...slots.map((slot, at) => ({ block: from + missing[at]!, slot, crc: crcs[missing[at]!]! })), ...zeros])
    } catch (error) {
      this.space.drop(slots)
      throw error
    }
    this.space.keep(slots)
    return slots.length
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    const unwritten = await this.readWritten(offset, into)
    if (unwritten === undefined) return
    throw new LunarError('ERR_UNWRITTEN', `Cannot read ${into.length} bytes from byte ${offset} on of ${this.name}`, {
      why: `the block at byte ${unwritten * this.blockSize} was never written`,
    })
  }

  async overlay(offset: number, into: Uint8Array): Promise<void> {
    await this.readWritten(offset, into)
  }

  /** @returns the first block that is not written */
  private async readWritten(offset: number, into: Uint8Array): Promise<number | undefined> {
    this.check(offset, into.length)
    if (into.length === 0) return undefined
    const from = offset / this.blockSize
    const release = await this.lock.lock(offset, into.length, 'shared')
    try {
      const found = await this.atPlaces(from, into.length / this.blockSize, (place, i) => place && this.readBlock(from + i, place, this.part(into, i)))
      const unwritten = found.indexOf(undefined)
      return unwritten < 0 ? undefined : from + unwritten
    } finally {
      release()
    }
  }

  private async readBlock(block: number, place: Place, into: Uint8Array): Promise<true> {
    if (place.slot === ZEROS) into.fill(0)
    else {
      await this.space.read(place.slot, into)
      this.verify(block, place, into)
    }
    return true
  }

  private verify(block: number, place: Place, found: Uint8Array): void {
    if (crc32c(found) === place.crc) return
    throw new LunarError('ERR_DATA_LOST', `Cannot read the block at byte ${block * this.blockSize} of ${this.name}`, {
      why: 'its bytes are not those that were written: their checksum differs',
      fix: 'look at what the device lies on: lunar wod show',
    })
  }

  async extents(offset: number, length: number): Promise<Extent[]> {
    this.check(offset, length)
    const extents: Extent[] = []
    let at = offset
    const add = (to: number, kind: Extent['kind']): void => {
      const last = extents.at(-1)
      if (to > at && last?.kind === kind) extents.splice(-1, 1, { ...last, length: last.length + to - at })
      else if (to > at) extents.push({ offset: at, length: to - at, kind })
      at = to
    }
    for await (const { block } of this.map.written(offset / this.blockSize, (offset + length) / this.blockSize)) {
      add(block * this.blockSize, 'hole')
      add((block + 1) * this.blockSize, 'data')
    }
    add(offset + length, 'hole')
    return extents
  }

  async reallocate(offset: number, length: number): Promise<void> {
    this.check(offset, length)
    if (length === 0) return
    if (length === this.size) {
      await this.forgetAll(() => this.map.clearAll())
      for (let more = true; more;) more = await this.release()
      return
    }
    const release = await this.lock.lock(offset, length, 'exclusive')
    try {
      for (let more = true; more;) await this.space.alone(async () => void (more = await this.clearSome(offset, length)))
    } finally {
      release()
    }
  }

  renew(commit: () => Promise<void>): Promise<void> {
    return this.forgetAll(async () => {
      await commit()
      this.map.renewed()
    })
  }

  private async forgetAll(change: () => Promise<void>): Promise<void> {
    const release = await this.lock.lock(0, this.size, 'exclusive')
    try {
      await this.space.forgetAll(change)
    } finally {
      release()
    }
  }

  release(): Promise<boolean> {
    return this.releasing.run(() => this.space.release((from, to, each) => this.eachUnwritten(from, to, each)))
  }

  private async eachUnwritten(from: number, to: number, each: (from: number, to: number) => Promise<void>): Promise<void> {
    const release = await this.lock.lock(from * this.blockSize, (to - from) * this.blockSize, 'exclusive')
    try {
      let at = from
      for await (const { block } of inSlots(this.map.written(from, to))) {
        if (block > at) await each(at, block)
        at = block + 1
      }
      if (to > at) await each(at, to)
    } finally {
      release()
    }
  }

  /** @returns whether there may be more */
  private async clearSome(offset: number, length: number): Promise<boolean> {
    const some: PlacedBlock[] = []
    for await (const placed of this.map.written(offset / this.blockSize, (offset + length) / this.blockSize)) {
      some.push(placed)
      if (some.length === CLEAR_STEP) break
    }
    if (some.length === 0) return false
    await this.map.clear(some.map(({ block }) => block))
    await this.space.free(some.flatMap(({ slot }) => (slot === ZEROS ? [] : [slot])))
    return some.length === CLEAR_STEP
  }

  /** Starts `use` for each block in one turn with finding where it lies: from then on no block is moved below a read. */
  private async atPlaces<T>(from: number, count: number, use: (place: Place | undefined, i: number) => Promise<T> | undefined): Promise<(T | undefined)[]> {
    for (let loading = this.map.load(from, from + count); loading; loading = this.map.load(from, from + count)) await loading
    return Promise.all(Array.from({ length: count }, async (_, i) => use(this.map.get(from + i), i)))
  }

  private part(data: Uint8Array, i: number): Uint8Array {
    return data.subarray(i * this.blockSize, (i + 1) * this.blockSize)
  }

  private partsOf(data: Uint8Array): Uint8Array[] {
    return Array.from({ length: data.length / this.blockSize }, (_, i) => this.part(data, i))
  }

  private check(offset: number, length: number): void {
    checkRange(this.name, this.size, this.blockSize, offset, length)
  }
}

/** Cuts slots where they, or the blocks they are for, do not follow each other. */
function* slotRuns(slots: readonly number[], blocks: readonly number[]): Generator<{ readonly from: number; readonly to: number }> {
  for (let from = 0; from < slots.length;) {
    let to = from + 1
    while (to < slots.length && slots[to] === slots[to - 1]! + 1 && blocks[to] === blocks[to - 1]! + 1) to++
    yield { from, to }
    from = to
  }
}

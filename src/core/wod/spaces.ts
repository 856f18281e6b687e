import { MIB } from '../base/units.ts'
import type { Unwritten, WriteOnceSpace } from '../block/write-once.ts'
import type { Backing } from './backing.ts'

/** Space given back in one step, while what is written to it waits. Bytes. */
const RELEASE_STEP = 256 * MIB

/** Slots one after the other on a backing. */
abstract class Slots implements WriteOnceSpace {
  constructor(
    protected readonly backing: Backing,
    protected readonly slotBytes: number,
  ) {}

  abstract take(blocks: readonly number[]): Promise<number[]>
  abstract keep(slots: readonly number[]): void
  abstract drop(slots: readonly number[]): void
  abstract free(slots: readonly number[]): Promise<void>
  abstract forgetAll(change: () => Promise<void>): Promise<void>
  abstract release(unwritten: Unwritten): Promise<boolean>

  write(slot: number, data: Uint8Array): Promise<void> {
    return this.backing.write(slot * this.slotBytes, data)
  }
  read(slot: number, into: Uint8Array): Promise<void> {
    return this.backing.read(slot * this.slotBytes, into)
  }
  flush(): Promise<void> {
    return this.backing.flush()
  }
  alone(change: () => Promise<void>): Promise<void> {
    return change()
  }

  /** Gives the space of slots back, each run of them in one call. */
  protected async trim(slots: readonly number[]): Promise<void> {
    const sorted = [...slots].sort((a, b) => a - b)
    for (let from = 0; from < sorted.length;) {
      let to = from + 1
      while (to < sorted.length && sorted[to] === sorted[to - 1]! + 1) to++
      await this.backing.trim(sorted[from]! * this.slotBytes, (to - from) * this.slotBytes)
      from = to
    }
  }
}

/** Each block in the slot of its own number: a sparse file, a thin LUN. */
export class IsomorphicSpace extends Slots {
  /** What lies from here on may hold what was forgotten. Slots. */
  private released: number

  /** @param slots in all; @param stale some may hold what was forgotten before */
  constructor(
    backing: Backing,
    slotBytes: number,
    private readonly slots: number,
    stale: boolean,
  ) {
    super(backing, slotBytes)
    this.released = stale ? 0 : slots
  }

  take(blocks: readonly number[]): Promise<number[]> {
    return Promise.resolve([...blocks])
  }
  keep(): void {
    // A slot belongs to its block for good.
  }
  drop(): void {
    // What was written there means nothing, and is written over by the next.
  }
  free(slots: readonly number[]): Promise<void> {
    return this.trim(slots)
  }
  async forgetAll(change: () => Promise<void>): Promise<void> {
    await change()
    this.released = 0
  }

  async release(unwritten: Unwritten): Promise<boolean> {
    const from = this.released
    const to = Math.min(this.slots, from + RELEASE_STEP / this.slotBytes)
    if (from < to) await unwritten(from, to, (a, b) => this.backing.trim(a * this.slotBytes, (b - a) * this.slotBytes))
    // Forgotten again meanwhile: from the start.
    if (this.released === from) this.released = to
    return this.released < this.slots
  }
}

/** Blocks packed from the start of a file, in the order in which they come: the lowest free slot is taken first. */
export class PackedSpace extends Slots {
  /** Slots below `next` that are free, largest first, so that the lowest is popped. */
  private holes: number[] = []
  private next = 0
  private loading: Promise<void> | undefined
  /** What lies from here on, and was not taken since, may hold what was forgotten. Slots. */
  private released: number
  private releasing: { readonly from: number; readonly done: Promise<void> } | undefined

  /** @param slots in all; @param stale some may hold what was forgotten before */
  constructor(
    backing: Backing,
    slotBytes: number,
    private readonly slots: number,
    stale: boolean,
    /** The slots that the map names. */
    private readonly inUse: () => AsyncIterable<{ readonly slot: number }>,
  ) {
    super(backing, slotBytes)
    this.released = stale ? 0 : slots
  }

  /** What is free follows from the map, once. */
  private load(): Promise<void> {
    return (this.loading ??= this.scan().catch((error: unknown) => {
      this.loading = undefined
      throw error
    }))
  }

  private async scan(): Promise<void> {
    const used = new Set<number>()
    let end = 0
    for await (const { slot } of this.inUse()) {
      used.add(slot)
      end = Math.max(end, slot + 1)
    }
    for (let slot = end - 1; slot >= 0; slot--) if (!used.has(slot)) this.holes.push(slot)
    this.next = end
  }

  async take(blocks: readonly number[]): Promise<number[]> {
    await this.load()
    // Nothing is written where space is given back.
    while (this.releasing && this.next + blocks.length > this.releasing.from) await this.releasing.done
    return blocks.map(() => this.holes.pop() ?? this.next++)
  }

  keep(): void {
    // Taken is taken.
  }

  drop(slots: readonly number[]): void {
    this.holes = [...this.holes, ...slots].sort((a, b) => b - a)
  }

  /** What is free is known before the map changes. */
  override async alone(change: () => Promise<void>): Promise<void> {
    await this.load()
    await change()
  }

  async free(slots: readonly number[]): Promise<void> {
    try {
      await this.trim(slots)
    } finally {
      this.drop(slots)
    }
  }

  async forgetAll(change: () => Promise<void>): Promise<void> {
    // A look at the map that is under way would be of what is forgotten.
    await this.loading?.catch(() => undefined)
    await change()
    this.next = 0
    this.holes = []
    this.loading = Promise.resolve()
    this.released = 0
  }

  async release(): Promise<boolean> {
    await this.load()
    const from = Math.max(this.released, this.next)
    const to = Math.min(this.slots, from + RELEASE_STEP / this.slotBytes)
    const start = this.released
    if (from < to) {
      const trimming = this.backing.trim(from * this.slotBytes, (to - from) * this.slotBytes)
      this.releasing = { from, done: trimming.catch(() => undefined) }
      try {
        await trimming
      } finally {
        this.releasing = undefined
      }
    }
    if (this.released === start) this.released = to
    return this.released < this.slots
  }
}

import type { WriteOnceSpace } from '../block/write-once.ts'
import type { Backing } from './backing.ts'

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
  abstract freeAll(): Promise<void>

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
  constructor(
    backing: Backing,
    slotBytes: number,
    private readonly size: number,
  ) {
    super(backing, slotBytes)
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
  freeAll(): Promise<void> {
    return this.backing.trim(0, this.size)
  }
}

/** Blocks packed from the start of a file, in the order in which they come: the lowest free slot is taken first. */
export class PackedSpace extends Slots {
  /** Slots below `next` that are free, largest first, so that the lowest is popped. */
  private holes: number[] = []
  private next = 0
  private loading: Promise<void> | undefined

  constructor(
    backing: Backing,
    slotBytes: number,
    /** The slots that the map names. */
    private readonly inUse: () => AsyncIterable<{ readonly slot: number }>,
  ) {
    super(backing, slotBytes)
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

  async freeAll(): Promise<void> {
    const end = this.next
    // Free whether or not their space could be given back.
    this.next = 0
    this.holes = []
    await this.backing.trim(0, end * this.slotBytes)
  }
}

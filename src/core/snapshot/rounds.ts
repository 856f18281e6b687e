import { inLanes } from '../base/lanes.ts'
import { turn } from '../base/turn.ts'
import { YIELD_EVERY } from '../block/device.ts'
import { MIB } from '../base/units.ts'
import type { Release } from '../block/range-lock.ts'
import type { Due } from './marks.ts'
import { overwrites, type Overwrite } from './overwrites.ts'
import type { Relationship } from './relationship.ts'
import type { Tree } from './tree/tree.ts'

/** A round that has so much to copy and to write is full: the next one may begin beside it. Bytes and writes. */
const ROUND_BYTES = 32 * MIB
const ROUND_WRITES = 4096
/** Rounds under way: one copies while another is flushed. */
const ROUNDS = 2
/** Overwrites of a round under way at a time. */
const LANES = 32

/** What has chunks of the volume locked for a write. */
type Covered = Relationship | Tree

/** A write that something must be durable before; its chunks are locked, or belong to its round. */
export class FirstWrite {
  round!: Round
  private readonly waiting: ((failure?: { readonly error: unknown }) => void)[] = []

  constructor(
    readonly offset: number,
    /** Not changed by anybody before it has ended. */
    public data: Uint8Array,
    /** What is due before it; nothing when its round brings it for others. */
    readonly due: Due,
    /** Bytes that are preserved for it. */
    readonly preserved: number,
    /** Whose chunks it has locked: after its round they need nothing more for them. */
    readonly covers: readonly Covered[],
    readonly release: Release | undefined,
  ) {}

  /** Adds somebody to be told of its end, and how it failed when it did. */
  whenEnded(tell: (failure?: { readonly error: unknown }) => void): void {
    this.waiting.push(tell)
  }

  end(failure?: { readonly error: unknown }): void {
    for (const tell of this.waiting.splice(0)) tell(failure)
  }
}

/** First writes that become durable together. */
export class Round {
  readonly writes: FirstWrite[] = []
  bytes = 0
  /** It waits for others to come. */
  lingers = true
  /** More may join: its overwrites are not issued yet. */
  open = true

  get isFull(): boolean {
    return this.bytes >= ROUND_BYTES || this.writes.length >= ROUND_WRITES
  }
}

/** What a volume does for its rounds. */
export interface RoundHost {
  /**
   * Copies what some writes preserve, flushes the images, then commits the bits of all; `copied` is called before the flush.
   * @throws LunarError when that failed for any of them: then none of them may go down
   */
  prepare(writes: readonly Due[], copied: () => void): Promise<void>
  /** Resolves when a round that nobody waits for has waited long enough for others to come. */
  linger(): Promise<void>
  /** Overwrites when that needs no waiting. @returns whether it did */
  putNow(offset: number, data: Uint8Array): boolean
  put(offset: number, data: Uint8Array): Promise<void>
  /** Plans and does one write anew, whose chunks are locked. */
  alone(write: FirstWrite): Promise<void>
}

/**
 * The first writes of a volume, by rounds: those that come while a round is under way are copied together, in order of
 * address and neighbours as one, made durable by one flush and one commit, and then overwrite the source (hazard 47).
 *
 * A write to chunks that a round has locked already joins it: what it needs is what the round makes durable.
 */
export class Rounds {
  private readonly waiting: Round[] = []
  private running = 0
  private copying = false
  /** The round that has a chunk of a relationship locked. */
  private readonly chunks = new Map<Covered, Map<number, Round>>()

  constructor(private readonly host: RoundHost) {}

  /** Takes a write whose chunks are locked; it ends with its round. */
  add(write: FirstWrite): void {
    let round = this.waiting.at(-1)
    if (!round || round.isFull) {
      const fresh = new Round()
      round = fresh
      this.waiting.push(fresh)
      void this.host.linger().then(() => {
        fresh.lingers = false
        this.advance()
      })
    }
    this.put(write, round)
    for (const relationship of write.covers) {
      let chunks = this.chunks.get(relationship)
      if (!chunks) this.chunks.set(relationship, (chunks = new Map()))
      const { from, to } = relationship.chunks.touched(write.offset, write.data.length)
      for (let chunk = from; chunk < to; chunk++) chunks.set(chunk, round)
    }
    this.advance()
  }

  /** The round that has all chunks of a range locked in each of the relationships, and does not overwrite yet. */
  covering(relationships: readonly Covered[], offset: number, length: number): Round | undefined {
    let round: Round | undefined
    for (const relationship of relationships) {
      const { from, to } = relationship.chunks.touched(offset, length)
      if (to <= from) continue
      const chunks = this.chunks.get(relationship)
      for (let chunk = from; chunk < to; chunk++) {
        const found = chunks?.get(chunk)
        if (!found?.open || (round && found !== round)) return undefined
        round = found
      }
    }
    return round
  }

  /** Adds a write to the round that covers it. */
  join(write: FirstWrite, round: Round): void {
    this.put(write, round)
  }

  private put(write: FirstWrite, round: Round): void {
    write.round = round
    round.writes.push(write)
    round.bytes += write.data.length + write.preserved
  }

  /** Somebody waits for what is acknowledged: the writes that are there now wait for no others. */
  hurry(): void {
    for (const round of this.waiting) round.lingers = false
    this.advance()
  }

  /** Begins the next round when none is under way and it has lingered, or when it is full and the one before has copied. */
  private advance(): void {
    const next = this.waiting[0]
    if (!next || this.copying || this.running >= ROUNDS || (this.running > 0 && !next.isFull)) return
    if (next.lingers && !next.isFull) return
    this.copying = true
    this.running++
    // Everybody who comes in this turn belongs to it.
    void Promise.resolve().then(() => this.run(next))
  }

  private async run(round: Round): Promise<void> {
    this.waiting.shift()
    let copied = false
    const next = (): void => {
      if (copied) return
      copied = true
      this.copying = false
      this.advance()
    }
    try {
      const first = round.writes.filter(({ due }) => due.marks.length > 0 || due.tree).sort((a, b) => a.offset - b.offset)
      await this.host.prepare(
        first.map(({ due }) => due),
        next,
      )
    } catch {
      // Each of them finds its own error on its own way, and those that have none are done.
      round.open = false
      await this.oneByOne(round.writes)
      return this.end(round, next)
    }
    round.open = false
    const others: Overwrite<FirstWrite>[] = []
    for (const [i, overwrite] of overwrites(round.writes).entries()) {
      if (this.host.putNow(overwrite.offset, overwrite.data)) for (const write of overwrite.writes) write.end()
      else others.push(overwrite)
      if (i % YIELD_EVERY === YIELD_EVERY - 1) await turn()
    }
    await inLanes(others, LANES, async ({ offset, data, writes }) => {
      try {
        await this.host.put(offset, data)
        for (const write of writes) write.end()
      } catch (error) {
        if (writes.length === 1) writes[0]!.end({ error })
        else await this.each(writes, write => this.host.put(write.offset, write.data))
      }
    })
    this.end(round, next)
  }

  /** In their order: of two that need the same chunk the second one relies on what the first has done. */
  private oneByOne(writes: readonly FirstWrite[]): Promise<void> {
    return this.each(writes, write => this.host.alone(write))
  }

  private async each(writes: readonly FirstWrite[], act: (write: FirstWrite) => Promise<void>): Promise<void> {
    for (const write of writes) {
      try {
        await act(write)
        write.end()
      } catch (error) {
        write.end({ error })
      }
    }
  }

  private end(round: Round, next: () => void): void {
    for (const { covers, offset, data } of round.writes) {
      for (const relationship of covers) {
        const chunks = this.chunks.get(relationship)
        const { from, to } = relationship.chunks.touched(offset, data.length)
        for (let chunk = from; chunk < to; chunk++) chunks?.delete(chunk)
        if (chunks?.size === 0) this.chunks.delete(relationship)
      }
    }
    for (const { release } of round.writes) release?.()
    this.running--
    next()
    this.advance()
  }
}

import { invariant } from '../base/errors.ts'
import type { LockMode, Release } from '../block/range-lock.ts'
import type { ChunkRun } from './chunks.ts'

interface Chunk {
  /** Holders: -1 one exclusive, above 0 so many shared. */
  held: number
  readonly waiting: { readonly exclusive: boolean; readonly grant: () => void }[]
}

/**
 * Locks on chunks, found by their number, so that thousands may be held at a time. Who waits first is served first; chunks of a run are taken
 * in order, so two runs never wait for each other.
 */
export class ChunkLocks {
  private readonly chunks = new Map<number, Chunk>()

  /** Locks a run; a promise only when something of it is locked otherwise. */
  lock(run: ChunkRun, mode: LockMode): Release | Promise<Release> {
    const exclusive = mode === 'exclusive'
    for (let chunk = run.from; chunk < run.to; chunk++) {
      if (!this.take(chunk, exclusive)) return this.lockFrom(run, chunk, exclusive)
    }
    return this.releaseOf(run)
  }

  /** Whether `lock` would grant the run exclusively without waiting. */
  isFree({ from, to }: ChunkRun): boolean {
    if (this.chunks.size === 0) return true
    for (let chunk = from; chunk < to; chunk++) if (this.chunks.has(chunk)) return false
    return true
  }

  /** Resolves when whatever is locked at this call has been let go once. */
  async settled(): Promise<void> {
    for (const chunk of [...this.chunks.keys()]) (await this.lock({ from: chunk, to: chunk + 1 }, 'shared'))()
  }

  /** Nothing is locked and nobody waits. */
  get idle(): boolean {
    return this.chunks.size === 0
  }

  private take(number: number, exclusive: boolean): boolean {
    const chunk = this.chunks.get(number)
    if (!chunk) {
      this.chunks.set(number, { held: exclusive ? -1 : 1, waiting: [] })
      return true
    }
    if (exclusive || chunk.held < 0 || chunk.waiting.length > 0) return false
    chunk.held++
    return true
  }

  private async lockFrom(run: ChunkRun, blocked: number, exclusive: boolean): Promise<Release> {
    for (let number = blocked; number < run.to; number++) {
      if (this.take(number, exclusive)) continue
      await new Promise<void>(grant => this.chunks.get(number)!.waiting.push({ exclusive, grant }))
    }
    return this.releaseOf(run)
  }

  private releaseOf(run: ChunkRun): Release {
    let held = true
    return () => {
      invariant(held, 'chunks are unlocked once')
      held = false
      for (let number = run.from; number < run.to; number++) this.unlock(number)
    }
  }

  private unlock(number: number): void {
    const chunk = this.chunks.get(number)
    invariant(chunk, 'an unlocked chunk was locked')
    chunk.held = chunk.held < 0 ? 0 : chunk.held - 1
    if (chunk.held > 0) return
    const first = chunk.waiting.shift()
    if (!first) {
      this.chunks.delete(number)
      return
    }
    chunk.held = first.exclusive ? -1 : 1
    first.grant()
    while (!first.exclusive && chunk.waiting[0] && !chunk.waiting[0].exclusive) {
      chunk.held++
      chunk.waiting.shift()!.grant()
    }
  }
}

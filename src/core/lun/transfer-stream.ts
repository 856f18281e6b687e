/** Pipes as ends of a transfer. */
import { finished } from 'node:stream/promises'
import type { Readable, Writable } from 'node:stream'
import { LunarError, errnoOf } from '../base/errors.ts'
import { hostError } from '../block/host.ts'
import { interrupted } from './transfer-run.ts'

/** Reads a stream into buffers. An abort also ends the wait for data that does not come. */
export class StreamSource {
  private readonly chunks: AsyncIterator<Uint8Array | string>
  private rest: Uint8Array = new Uint8Array(0)
  /** Ends reading now, also a wait for data. */
  readonly stop = (): void => {
    ;(this.stream as Readable).destroy()
  }

  constructor(
    private readonly stream: NodeJS.ReadableStream,
    private readonly what: string,
    private readonly signal?: AbortSignal,
  ) {
    this.chunks = stream[Symbol.asyncIterator]()
    if (signal?.aborted) this.stop()
    else signal?.addEventListener('abort', this.stop, { once: true })
  }

  /** @returns bytes filled; fewer than fit only at the end of the stream. @throws LunarError `ERR_INTERRUPTED`, `ERR_IO`, … */
  async fill(into: Uint8Array): Promise<number> {
    let filled = 0
    while (filled < into.length) {
      if (this.rest.length === 0) {
        const next = await this.next()
        if (next === undefined) break
        this.rest = next
      }
      const length = Math.min(this.rest.length, into.length - filled)
      into.set(this.rest.subarray(0, length), filled)
      this.rest = this.rest.subarray(length)
      filled += length
    }
    return filled
  }

  /** Ends reading; the stream is destroyed unless it has ended. */
  async close(): Promise<void> {
    this.signal?.removeEventListener('abort', this.stop)
    await this.chunks.return?.()
  }

  private async next(): Promise<Uint8Array | undefined> {
    try {
      const next = await this.chunks.next()
      if (this.signal?.aborted) throw interrupted(this.what)
      if (next.done) return undefined
      return typeof next.value === 'string' ? Buffer.from(next.value) : next.value
    } catch (error) {
      if (this.signal?.aborted) throw interrupted(this.what)
      throw hostError(this.what, error)
    }
  }
}

const closedCodes = ['EPIPE', 'ECONNRESET', 'ERR_STREAM_DESTROYED', 'ERR_STREAM_WRITE_AFTER_END', 'ERR_STREAM_PREMATURE_CLOSE']

/** Writes to a stream, one part after the other; each part has left our buffers when its promise resolves. */
export class StreamTarget {
  private failure: unknown

  constructor(
    private readonly stream: NodeJS.WritableStream,
    private readonly what: string,
    /** Whether the stream is ours to end. */
    private readonly owned: boolean,
    private readonly signal?: AbortSignal,
  ) {
    // stays there for good: an error that comes late must not end the process
    stream.on('error', (error: unknown) => (this.failure ??= error))
  }

  /** @throws LunarError `ERR_PIPE_CLOSED`; `ERR_INTERRUPTED`, then `data` may still be in use and is not to be changed */
  write(data: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.failure) return reject(this.mapped(this.failure))
      const stop = (): void => reject(interrupted(this.what))
      if (this.signal?.aborted) return stop()
      this.signal?.addEventListener('abort', stop, { once: true })
      this.stream.write(data, error => {
        this.signal?.removeEventListener('abort', stop)
        if (error) reject(this.mapped(error))
        else resolve()
      })
    })
  }

  /** Waits until all is handed to the host. */
  async end(): Promise<void> {
    if (!this.owned) return
    this.stream.end()
    await finished(this.stream).catch((error: unknown) => {
      throw this.mapped(error)
    })
  }

  /** Gives up an unfinished stream. */
  abandon(): void {
    if (this.owned) (this.stream as Writable).destroy()
  }

  private mapped(error: unknown): LunarError {
    if (closedCodes.includes(errnoOf(error) ?? ''))
      return new LunarError('ERR_PIPE_CLOSED', this.what, { why: 'the reader of the output went away', cause: error })
    return hostError(this.what, error)
  }
}

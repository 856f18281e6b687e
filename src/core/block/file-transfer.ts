import type { CallGate } from './call-gate.ts'
import { hostError, shortTransfer } from './host.ts'
import { bytesOf } from '../base/bytes.ts'
import { errnoOf } from '../base/errors.ts'

type Ended = (error: NodeJS.ErrnoException | null, bytes: number) => void

/** The calls of `node:fs` that move data; tests put others in their place to cut transfers short. */
export interface FileCalls {
  read(fd: number, into: Uint8Array, start: number, length: number, position: number, ended: Ended): void
  write(fd: number, data: Uint8Array, start: number, length: number, position: number, ended: Ended): void
  readv(fd: number, parts: readonly Uint8Array[], position: number, ended: Ended): void
  writev(fd: number, parts: readonly Uint8Array[], position: number, ended: Ended): void
  fdatasync(fd: number, ended: (error: NodeJS.ErrnoException | null) => void): void
}

/** What a transfer needs to know of its disk. */
export interface TransferHost {
  readonly name: string
  readonly calls: FileCalls
  /** Called when the transfer no longer uses the descriptor. */
  ended(): void
}

/**
 * One read or write of a contiguous range, repeated after EINTR and after short transfers until all of it is done.
 * A transfer of no bytes is the end of the file or device: `ERR_IO`, never zeros.
 */
export class FileTransfer {
  private done = 0
  /** Bytes of all parts. */
  readonly length: number
  private resolve!: () => void
  private reject!: (error: unknown) => void

  constructor(
    private readonly host: TransferHost,
    private readonly fd: number,
    private readonly writing: boolean,
    private readonly offset: number,
    /** At least one, all together of at least one byte. */
    private parts: readonly Uint8Array[],
    private readonly gate?: CallGate,
  ) {
    this.length = bytesOf(parts)
  }

  run(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
      if (this.gate) this.gate.enter(this.step)
      else this.step()
    })
  }

  private readonly step = (): void => {
    const { calls } = this.host
    const at = this.offset + this.done
    if (this.parts.length === 1) {
      const part = this.parts[0]!
      const left = this.length - this.done
      const start = part.length - left
      if (this.writing) calls.write(this.fd, part, start, left, at, this.ended)
      else calls.read(this.fd, part, start, left, at, this.ended)
    } else if (this.writing) {
      calls.writev(this.fd, this.parts, at, this.ended)
    } else {
      calls.readv(this.fd, this.parts, at, this.ended)
    }
  }

  private readonly ended: Ended = (error, bytes) => {
    if (error) {
      if (errnoOf(error) === 'EINTR') this.step()
      else this.finish(hostError(this.what(), error))
      return
    }
    if (bytes <= 0) return this.finish(shortTransfer(this.what(), this.offset + this.done))
    this.done += bytes
    if (this.done >= this.length) return this.finish()
    if (this.parts.length > 1) this.parts = rest(this.parts, bytes)
    this.step()
  }

  private what(): string {
    return this.writing ? `Cannot write to ${this.host.name}` : `Cannot read from ${this.host.name}`
  }

  private finish(error?: Error): void {
    this.gate?.leave()
    this.host.ended()
    if (error) this.reject(error)
    else this.resolve()
  }
}

/** The parts without their first `bytes` bytes. */
function rest(parts: readonly Uint8Array[], bytes: number): Uint8Array[] {
  let index = 0
  let skip = bytes
  while (skip >= parts[index]!.length) skip -= parts[index++]!.length
  return [parts[index]!.subarray(skip), ...parts.slice(index + 1)]
}

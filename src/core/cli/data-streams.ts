/** Streams that carry user data. */
import { Writable } from 'node:stream'
import { LunarError } from '../base/errors.ts'

/** A stream that keeps what it is given. */
export function collector(): { readonly stream: Writable; take(): Buffer } {
  const parts: Buffer[] = []
  const stream = new Writable({
    write(chunk: Uint8Array, _encoding, done) {
      parts.push(Buffer.from(chunk)) // a copy: the writer reuses its buffers
      done()
    },
  })
  return { stream, take: () => Buffer.concat(parts) }
}

/** Nobody wants a disk on the screen, or to type one. @throws LunarError `ERR_USAGE` when the stream is a terminal */
export function requirePipe(stream: { readonly isTTY?: boolean }, name: 'stdin' | 'stdout', typed: string): void {
  if (!stream.isTTY) return
  throw new LunarError('ERR_USAGE', `Cannot use the terminal for the data of "${typed}"`, {
    why: `${name} is a terminal`,
    fix: name === 'stdin' ? 'give a file, or redirect: < FILE' : 'give a file, or redirect: > FILE',
  })
}

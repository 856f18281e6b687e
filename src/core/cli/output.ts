/** Writing to a stream whose reader may go away. */
import { errnoOf, isCode, LunarError } from '../base/errors.ts'
import type { OutputStream } from './surroundings.ts'

/** Bytes of text gathered before a write. */
const CHUNK = 64 * 1024

/**
 * Resolves when the stream took all of `text`.
 *
 * @throws LunarError `ERR_PIPE_CLOSED` when the reader went away
 */
export function writeAll(stream: OutputStream, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(text, error => {
      if (!error) resolve()
      else if (errnoOf(error) === 'EPIPE' || errnoOf(error) === 'ERR_STREAM_DESTROYED')
        reject(new LunarError('ERR_PIPE_CLOSED', 'Cannot write the output: its reader went away', { cause: error }))
      else reject(error)
    })
  })
}

/** For output that is nobody's loss when its reader has enough: reports, messages. Resolves when `write` has ended or met a closed pipe. */
export async function whileRead(write: Promise<void>): Promise<void> {
  try {
    await write
  } catch (error) {
    if (!isCode(error, 'ERR_PIPE_CLOSED')) throw error
  }
}

/** Writes lines in chunks, so that a long list starts to appear before all of it is formatted. */
export async function writeLines(stream: OutputStream, lines: Iterable<string>): Promise<void> {
  let chunk = ''
  for (const line of lines) {
    chunk += line + '\n'
    if (chunk.length >= CHUNK) {
      await writeAll(stream, chunk)
      chunk = ''
    }
  }
  if (chunk !== '') await writeAll(stream, chunk)
}

// eslint-disable-next-line no-control-regex -- control characters are what this is about
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/
const CONTROLS = new RegExp(CONTROL, 'g')

/** Names and paths come from disks and from other hosts: control characters must not reach a terminal or break a row. */
export function printable(text: string): string {
  if (!CONTROL.test(text)) return text
  return text.replace(CONTROLS, char => (char === '\n' || char === '\t' ? ' ' : `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`))
}

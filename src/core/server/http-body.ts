import type { IncomingMessage } from 'node:http'
import { LunarError } from '../base/errors.ts'

/** The length that the sender promised, or an error when it promised none or too much. Nothing is read before that is known. */
export function bodyLength(message: IncomingMessage, max: number): number {
  const header = message.headers['content-length']
  const length = header === undefined ? (message.headers['transfer-encoding'] === undefined ? 0 : NaN) : Number(header)
  if (!Number.isSafeInteger(length) || length < 0) throw new LunarError('ERR_USAGE', 'Cannot take the request', { why: 'it does not say how long its body is' })
  if (length > max) throw new LunarError('ERR_USAGE', 'Cannot take the request', { why: `its body has ${length} bytes, the most is ${max}` })
  return length
}

/** Fills the parts with the body; rejects unless exactly that many bytes arrive. */
export function readBody(message: IncomingMessage, parts: readonly Uint8Array[]): Promise<void> {
  return new Promise((resolve, reject) => {
    let part = 0
    let at = 0
    let whole = false
    const room = (): Uint8Array | undefined => {
      while (part < parts.length && at === parts[part]!.length) {
        part++
        at = 0
      }
      return parts[part]
    }
    message.on('data', (chunk: Buffer) => {
      for (let taken = 0; taken < chunk.length;) {
        const target = room()
        if (!target) return message.destroy(new Error('more bytes than announced'))
        const count = Math.min(chunk.length - taken, target.length - at)
        target.set(count === chunk.length ? chunk : chunk.subarray(taken, taken + count), at)
        taken += count
        at += count
      }
    })
    message.once('end', () => {
      whole = message.complete && room() === undefined
      if (whole) resolve()
      else reject(new Error('the connection ended in the middle of a body'))
    })
    message.once('error', reject)
    message.once('close', () => {
      if (!whole) reject(new Error('the connection closed in the middle of a body'))
    })
  })
}

/** Collects a body of up to `max` bytes as text. */
export async function readText(message: IncomingMessage, max: number): Promise<string> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of message as AsyncIterable<Buffer>) {
    length += chunk.length
    if (length > max) throw new LunarError('ERR_USAGE', 'Cannot take the request', { why: `its body has more than ${max} bytes` })
    chunks.push(chunk)
  }
  if (!message.complete) throw new Error('the connection closed in the middle of a body')
  return Buffer.concat(chunks).toString('utf8')
}

/** Data that ends inside a block keeps what follows it there: a transfer would pad it with zeros. */
import { createReadStream } from 'node:fs'
import { Readable } from 'node:stream'
import { alignDown } from '../base/units.ts'
import type { BlockDevice } from '../block/device.ts'

export interface WholeBlocks {
  /** For `-`; its errors are those of the source and of reading the device. */
  readonly stream: Readable
  /** Bytes that came from the source so far. */
  length(): number
}

/**
 * The same data, continued to the end of its last block with what the device holds there.
 *
 * @param offset bytes on the device where the data will go, a multiple of its block size
 */
export function wholeBlocks(source: NodeJS.ReadableStream, device: BlockDevice, offset: number): WholeBlocks {
  const seen = { length: 0 }
  return { stream: Readable.from(continued(source, device, offset, seen), { objectMode: false }), length: () => seen.length }
}

/** The bytes of a file as a stream, for one that does not end with a block. */
export const fileStream = (path: string): Readable => createReadStream(path)

async function* continued(source: NodeJS.ReadableStream, device: BlockDevice, offset: number, seen: { length: number }): AsyncGenerator<Uint8Array> {
  for await (const chunk of source) {
    const data = typeof chunk === 'string' ? Buffer.from(chunk) : chunk
    seen.length += data.length
    yield data
  }
  const rest = seen.length % device.blockSize
  const start = offset + alignDown(seen.length, device.blockSize)
  if (rest === 0 || start >= device.size) return
  const block = Buffer.alloc(device.blockSize)
  await device.read(start, block)
  yield block.subarray(rest)
}

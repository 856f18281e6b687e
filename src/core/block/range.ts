import { LunarError } from '../base/errors.ts'

/** @throws LunarError `ERR_OUT_OF_RANGE` unless offset and length are whole blocks inside of `size` bytes; `what` names the object */
export function checkRange(what: string, size: number, blockSize: number, offset: number, length: number): void {
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0 || offset + length > size) {
    throw new LunarError('ERR_OUT_OF_RANGE', `Cannot reach bytes ${offset} to ${offset + length} of ${what}`, { why: `it has ${size} bytes` })
  }
  if (offset % blockSize !== 0 || length % blockSize !== 0) {
    throw new LunarError('ERR_OUT_OF_RANGE', `Cannot use offset ${offset} and length ${length} on ${what}`, {
      why: `both must be multiples of ${blockSize} bytes`,
    })
  }
}

/** Whether `checkRange` would let a range pass, for ways that only have to know. */
export const isInside = (size: number, blockSize: number, offset: number, length: number): boolean =>
  offset >= 0 && offset + length <= size && offset % blockSize === 0 && length % blockSize === 0

/** A range cut at multiples of `piece` bytes, one after the other. */
export async function inPieces(offset: number, length: number, piece: number, each: (offset: number, length: number) => Promise<void>): Promise<void> {
  for (let at = offset; at < offset + length;) {
    const to = Math.min(offset + length, at - (at % piece) + piece)
    await each(at, to - at)
    at = to
  }
}

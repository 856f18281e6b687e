/**
 * XOR of byte ranges, for parity: through WebAssembly (16 bytes an instruction), in blocks that stay in the processor's nearest cache.
 * With the copies in and out it is still several times as fast as plain code, from the smallest length on (`npm run bench -- --only parity`).
 */
import { invariant } from '../base/errors.ts'
import { xorWasm } from './xor-wasm.ts'

/** What is done at a time: the sum so far and one source are in the nearest cache, and both fit into the module's memory. Bytes. */
const CHUNK = 8 * 1024
const SOURCE_AT = CHUNK

interface XorModule {
  readonly bytes: Buffer
  /** Memory [target, end) becomes its XOR with what lies from `source` on; up to 63 bytes more are changed. */
  readonly xor: (target: number, source: number, end: number) => void
}

/** What Node has of WebAssembly and its types leave out. */
interface WebAssemblyGlobal {
  readonly Module: new (bytes: Uint8Array) => object
  readonly Instance: new (module: object) => { readonly exports: { readonly memory: { readonly buffer: ArrayBuffer }; readonly xor: XorModule['xor'] } }
}

/** Scratch and code, made when first needed; a call leaves nothing in it that another one reads. */
let loaded: XorModule | false | undefined

/** @returns false where the host has no WebAssembly, no memory for it, or a processor without vectors */
function load(): XorModule | false {
  const { WebAssembly } = globalThis as unknown as { WebAssembly?: WebAssemblyGlobal }
  if (!WebAssembly) return false
  try {
    const { memory, xor } = new WebAssembly.Instance(new WebAssembly.Module(Buffer.from(xorWasm, 'base64'))).exports
    return { bytes: Buffer.from(memory.buffer), xor }
  } catch {
    return false // plain code does the same
  }
}

/**
 * `target` becomes the XOR of the sources.
 *
 * @param target as long as each source; it may be one of them, but not overlap one otherwise
 * @param sources one or more, of any alignment
 */
export function xorOf(target: Uint8Array, sources: readonly Uint8Array[]): void {
  const { length } = target
  const first = sources[0]
  invariant(first && sources.every(source => source.length === length), 'XOR of ranges of different lengths')
  loaded ??= load()
  if (!loaded) {
    xorPortable(target, sources)
    return
  }
  const { bytes, xor } = loaded
  for (let at = 0; at < length; at += CHUNK) {
    const count = Math.min(CHUNK, length - at)
    bytes.set(part(first, at, count), 0)
    for (let i = 1; i < sources.length; i++) {
      bytes.set(part(sources[i]!, at, count), SOURCE_AT)
      xor(0, SOURCE_AT, count)
    }
    bytes.copy(target, at, 0, count)
  }
}

/** `target` becomes its XOR with `source`, which is as long and does not overlap it. */
export function xorInto(target: Uint8Array, source: Uint8Array): void {
  xorOf(target, [target, source])
}

const part = (bytes: Uint8Array, at: number, count: number): Uint8Array => (count === bytes.length ? bytes : bytes.subarray(at, at + count))

/** As `xorOf`, in plain code: four bytes a step where all of it is aligned to them. */
export function xorPortable(target: Uint8Array, sources: readonly Uint8Array[]): void {
  // A target that is a source too comes first, before it is overwritten.
  const own = sources.indexOf(target)
  const ordered = own > 0 ? [target, ...sources.filter((_, i) => i !== own)] : sources
  target.set(ordered[0]!)
  for (const source of ordered.slice(1)) {
    let done = 0
    if (((target.byteOffset | source.byteOffset) & 3) === 0) {
      const words = target.length >>> 2
      const to = new Int32Array(target.buffer, target.byteOffset, words)
      const from = new Int32Array(source.buffer, source.byteOffset, words)
      let i = 0
      for (; i < words - 7; i += 8) {
        to[i]! ^= from[i]!
        to[i + 1]! ^= from[i + 1]!
        to[i + 2]! ^= from[i + 2]!
        to[i + 3]! ^= from[i + 3]!
        to[i + 4]! ^= from[i + 4]!
        to[i + 5]! ^= from[i + 5]!
        to[i + 6]! ^= from[i + 6]!
        to[i + 7]! ^= from[i + 7]!
      }
      for (; i < words; i++) to[i]! ^= from[i]!
      done = words * 4
    }
    for (let i = done; i < target.length; i++) target[i]! ^= source[i]!
  }
}

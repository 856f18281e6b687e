/** Buffers that a file may be written from without the host's page cache (O_DIRECT). */

/** A multiple of what disks and file systems ask for. Bytes. */
const DIRECT_ALIGN = 4096
/** Shorter writes are better off in the page cache. Bytes. */
const DIRECT_FROM = 256 * 1024
const WASM_PAGE = 64 * 1024

interface WasmMemory {
  readonly buffer: ArrayBuffer
}
/** What Node has of WebAssembly and its types leave out. */
const { Memory } = (globalThis as unknown as { WebAssembly: { Memory: new (pages: { initial: number; maximum: number }) => WasmMemory } }).WebAssembly

/** Memory that is known to begin at a page: JavaScript cannot see an address. */
const aligned = new WeakSet<ArrayBufferLike>()

/**
 * Buffers of `length` bytes each. They begin at a page of memory when `length` is a multiple of one and the host has the
 * address space for it (WebAssembly memory reserves more than it uses); else anywhere.
 */
export function alignedBuffers(count: number, length: number): Buffer[] {
  const memory = pages(count * length)
  if (!memory) return Array.from({ length: count }, () => Buffer.allocUnsafeSlow(length))
  return Array.from({ length: count }, (_, index) => Buffer.from(memory, index * length, length))
}

function pages(length: number): ArrayBuffer | undefined {
  const count = Math.ceil(length / WASM_PAGE)
  try {
    const { buffer } = new Memory({ initial: count, maximum: count })
    aligned.add(buffer)
    return buffer
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}

/** Whether a write of these bytes may pass the page cache; who orders writes must keep others of the range away meanwhile. */
export const isPageMemory = (data: Uint8Array): boolean => aligned.has(data.buffer)

/** Whether a write of `length` bytes in all is long enough, and everything about it is aligned. */
export const suitsDirect = (offset: number, parts: readonly Uint8Array[], length: number): boolean =>
  length >= DIRECT_FROM &&
  offset % DIRECT_ALIGN === 0 &&
  parts.every(part => isPageMemory(part) && part.byteOffset % DIRECT_ALIGN === 0 && part.length % DIRECT_ALIGN === 0)

import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { Random } from '../../../src/core/base/random.ts'
import * as xor from '../../../src/core/raid/xor.ts'

const root = join(import.meta.dirname, '..', '..', '..')

afterEach(() => {
  vi.unstubAllGlobals()
  vi.resetModules()
})

/** Bytes at any alignment, in the middle of memory that must stay as it is. */
function bytesAt(random: Random, length: number, offset: number): Uint8Array {
  const memory = new Uint8Array(offset + length + 70)
  for (let i = 0; i < memory.length; i++) memory[i] = random.below(256)
  return memory.subarray(offset, offset + length)
}

const around = (bytes: Uint8Array): number[] => {
  const memory = new Uint8Array(bytes.buffer)
  return [...memory.subarray(0, bytes.byteOffset), ...memory.subarray(bytes.byteOffset + bytes.length)]
}

const lengths = fc.oneof(fc.nat(200), fc.constantFrom(512, 4096, 8191, 8192, 8193, 65_536, 70_001))

describe.each([
  ['WebAssembly', xor.xorOf],
  ['plain code', xor.xorPortable],
])('XOR by %s', (_, xorOf) => {
  test('is that of every byte, and changes nothing else', () => {
    fc.assert(
      fc.property(lengths, fc.array(fc.nat(20), { minLength: 1, maxLength: 5 }), fc.nat(20), fc.integer(), (length, offsets, at, seed) => {
        const random = new Random(seed)
        const sources = offsets.map(offset => bytesAt(random, length, offset))
        const copies = sources.map(source => new Uint8Array(source))
        const target = bytesAt(random, length, at)
        const outside = around(target)
        const wanted = Buffer.from(copies[0]!.map((byte, i) => copies.slice(1).reduce((sum, copy) => sum ^ copy[i]!, byte)))
        xorOf(target, sources)
        expect(wanted.equals(target)).toBe(true)
        expect(around(target)).toEqual(outside)
        sources.forEach((source, i) => {
          expect(Buffer.compare(source, copies[i]!)).toBe(0)
        })
      }),
    )
  })

  test('may have its target among the sources', () => {
    const random = new Random(7)
    for (const place of [0, 1, 2]) {
      const sources = [0, 1, 2].map(() => bytesAt(random, 20_000, 4))
      const wanted = sources[0]!.map((byte, i) => byte ^ sources[1]![i]! ^ sources[2]![i]!)
      xorOf(sources[place]!, sources)
      expect(Buffer.compare(sources[place]!, wanted)).toBe(0)
    }
  })
})

test('XOR into a range', () => {
  const target = Uint8Array.of(1, 2, 3)
  xor.xorInto(target, Uint8Array.of(3, 2, 1))
  expect([...target]).toEqual([2, 0, 2])
})

test('ranges of different lengths are refused', () => {
  expect(() => {
    xor.xorOf(new Uint8Array(8), [new Uint8Array(8), new Uint8Array(9)])
  }).toThrow('different lengths')
})

test.each([
  ['no WebAssembly', undefined],
  [
    'a processor without vectors',
    {
      Module: class {
        constructor() {
          throw new Error('wasm validation error')
        }
      },
    },
  ],
])('%s: plain code', async (_, replaced) => {
  vi.stubGlobal('WebAssembly', replaced)
  vi.resetModules()
  const { xorOf } = await import('../../../src/core/raid/xor.ts')
  const target = new Uint8Array(3)
  xorOf(target, [Uint8Array.of(1, 2, 3), Uint8Array.of(7, 7, 7)])
  expect([...target]).toEqual([6, 5, 4])
})

test('the module is what xor.wat says', () => {
  const { status, stderr } = spawnSync(process.execPath, [join(root, 'scripts', 'xor-wasm.mjs'), '--check'], { encoding: 'utf8' })
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
})

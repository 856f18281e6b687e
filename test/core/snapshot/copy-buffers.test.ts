import { expect, test } from 'vitest'
import { deferred } from '../../../src/core/base/deferred.ts'
import { MIB } from '../../../src/core/base/units.ts'
import { isPageMemory } from '../../../src/core/block/aligned.ts'
import { CopyBuffers } from '../../../src/core/snapshot/copy-buffers.ts'

test('long buffers are page memory, one for each run under way, and used again', async () => {
  const buffers = new CopyBuffers(256 * 1024, 8 * MIB)
  const seen: Uint8Array[] = []
  const done = deferred()
  const use = (bytes: Uint8Array): Promise<void> => {
    seen.push(bytes)
    return done.promise
  }
  const [first, second] = [buffers.lend(MIB, use), buffers.lend(8 * MIB, use)]
  done.resolve()
  await Promise.all([first, second])
  await buffers.lend(2 * MIB, use)
  expect(seen.map(({ length }) => length)).toEqual([MIB, 8 * MIB, 2 * MIB])
  expect(seen.every(isPageMemory)).toBe(true)
  expect(seen[0]!.buffer).not.toBe(seen[1]!.buffer)
  expect([seen[0]!.buffer, seen[1]!.buffer]).toContain(seen[2]!.buffer)
})

test('a buffer whose use failed is used again, and short ones are their own', async () => {
  const buffers = new CopyBuffers(256 * 1024, 8 * MIB)
  let failed: Uint8Array | undefined
  const failing = buffers.lend(MIB, bytes => {
    failed = bytes
    return Promise.reject(new Error('failed'))
  })
  await expect(failing).rejects.toThrow('failed')
  expect(await buffers.lend(MIB, bytes => Promise.resolve(bytes.buffer))).toBe(failed!.buffer)
  expect(await buffers.lend(4096, bytes => Promise.resolve(isPageMemory(bytes)))).toBe(false)
  expect(await CopyBuffers.none.lend(MIB, bytes => Promise.resolve(isPageMemory(bytes)))).toBe(false)
})

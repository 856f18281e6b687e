import { describe, expect, test } from 'vitest'
import { deferred } from '../../../src/core/base/deferred.ts'
import { LunarError } from '../../../src/core/base/errors.ts'
import { Random } from '../../../src/core/base/random.ts'
import { Scheduler, SimulatedDisk, type SimulatedOperation } from '../../../src/core/block/simulated.ts'
import { SparsePages } from '../../../src/core/block/sparse-pages.ts'
import { Tape } from '../../../src/core/block/tape.ts'
import { stamp } from '../../conformance/block-device.ts'

const MIB = 1024 * 1024
const broken = new LunarError('ERR_IO', 'made by the test')

const bytes = async (disk: SimulatedDisk, offset: number, length: number): Promise<Buffer> => {
  const into = Buffer.alloc(length, 0xa5)
  await disk.read(offset, into)
  return into
}

describe('faults on command', () => {
  test('every operation asks the plan, in order and with its place', async () => {
    const asked: SimulatedOperation[] = []
    const disk = new SimulatedDisk(MIB, { plan: operation => void asked.push(operation) })
    await disk.write(512, Buffer.alloc(1024))
    await disk.writev(0, [Buffer.alloc(512), Buffer.alloc(512)])
    await disk.writeDurable(4096, Buffer.alloc(512))
    await disk.read(0, Buffer.alloc(512))
    await disk.flush()
    await disk.reserve(0, 65536)
    await disk.punch(0, 4096)
    await disk.zero(4096, 4096)
    expect(asked.map(({ kind, offset, length }) => `${kind} ${offset}+${length}`)).toEqual([
      'write 512+1024',
      'write 0+1024',
      'durable 4096+512',
      'read 0+512',
      'flush 0+0',
      'reserve 0+65536',
      'punch 0+4096',
      'zero 4096+4096',
    ])
    expect(asked.map(({ ordinal }) => ordinal)).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
  })

  test('what the plan fails is not done', async () => {
    const disk = new SimulatedDisk(MIB, { plan: ({ ordinal }) => (ordinal >= 2 && ordinal < 6 ? broken : undefined) })
    await disk.write(0, stamp(0, 4096, 1))
    await disk.flush()
    await expect(disk.write(0, stamp(0, 4096, 2))).rejects.toBe(broken)
    await expect(disk.punch(0, 4096)).rejects.toBe(broken)
    await expect(disk.read(0, Buffer.alloc(512))).rejects.toBe(broken)
    await expect(disk.reserve(0, 4096)).rejects.toBe(broken)
    expect((await bytes(disk, 0, 4096)).equals(stamp(0, 4096, 1))).toBe(true)
  })

  test('a delay hangs one operation, the others pass; a rejected one fails it', async () => {
    const hang = deferred()
    const disk = new SimulatedDisk(MIB, { plan: ({ offset }) => (offset === 4096 ? { delay: hang.promise } : undefined) })
    let ended = false
    const slow = disk.write(4096, stamp(4096, 512, 1)).finally(() => (ended = true))
    await disk.write(0, stamp(0, 512, 1))
    await disk.flush()
    expect(ended).toBe(false)
    expect((await bytes(disk, 4608, 512)).every(byte => byte === 0)).toBe(true)
    hang.reject(broken)
    await expect(slow).rejects.toBe(broken)
  })

  test('short transfers go on until all is done, and one of nothing is an error (F12)', async () => {
    const disk = new SimulatedDisk(MIB, { plan: ({ length }) => (length > 512 ? { short: 512 } : undefined) })
    await disk.write(0, stamp(0, 4096, 1))
    expect((await bytes(disk, 0, 4096)).equals(stamp(0, 4096, 1))).toBe(true)
    expect(disk.counters).toMatchObject({ writes: 8, reads: 8, bytesWritten: 4096, bytesRead: 4096 })
    disk.plan = () => ({ short: 0 })
    await expect(disk.read(0, Buffer.alloc(512))).rejects.toMatchObject({ code: 'ERR_IO' })
  })

  test('counts by kind, and a flush in counts is either kind', async () => {
    const disk = new SimulatedDisk(MIB)
    await disk.write(0, Buffer.alloc(1024))
    await disk.writeDurable(0, Buffer.alloc(512))
    await disk.read(0, Buffer.alloc(2048))
    await Promise.all([disk.flush(), disk.flush()])
    expect(disk.counters).toEqual({ reads: 1, writes: 1, durables: 1, flushes: 2, reserves: 0, punches: 0, zeros: 0, bytesRead: 2048, bytesWritten: 1536 })
    expect(disk.flushCount).toBe(3)
    disk.resetCounters()
    expect(disk.flushCount).toBe(0)
  })
})

describe('power loss of one disk', () => {
  test('keeps what a flush covered and durable writes, and nothing else', async () => {
    const disk = new SimulatedDisk(MIB)
    await disk.write(0, stamp(0, 4096, 1))
    await disk.flush()
    await disk.write(0, stamp(0, 1024, 2))
    await disk.writeDurable(512, stamp(512, 512, 3))
    await disk.write(512, stamp(512, 512, 4))
    await disk.punch(2048, 2048)
    expect(disk.unflushed).toBe(3)
    expect(disk.dropUnflushed()).toBe(3)
    const wanted = Buffer.from(stamp(0, 4096, 1))
    wanted.set(stamp(512, 512, 3), 512)
    expect((await bytes(disk, 0, 4096)).equals(wanted)).toBe(true)
    expect(disk.unflushed).toBe(0)
  })

  test('a clone is a disk of its own', async () => {
    const disk = new SimulatedDisk(MIB, { name: 'a' })
    await disk.write(0, stamp(0, 4096, 1))
    const clone = disk.clone({ name: 'b' })
    await disk.write(0, stamp(0, 512, 2))
    await clone.write(512, stamp(512, 512, 3))
    expect(clone.dropUnflushed()).toBe(1)
    expect((await bytes(clone, 0, 4096)).equals(stamp(0, 4096, 1))).toBe(true)
    expect((await bytes(disk, 0, 512)).equals(stamp(0, 512, 2))).toBe(true)
    expect([disk.identity, clone.identity]).toEqual(['a', 'b'])
  })

  test('punched pages take no memory', async () => {
    const disk = new SimulatedDisk(64 * MIB)
    await disk.write(0, stamp(0, MIB, 1))
    await disk.flush()
    expect(disk.allocated).toBe(MIB)
    await disk.punch(4096 + 512, MIB / 2)
    expect(disk.allocated).toBe(MIB / 2 + 4096)
  })
})

test('a scheduler orders completions by its seed, the same every time', async () => {
  const order = async (seed: number): Promise<string> => {
    const scheduler = new Scheduler(new Random(seed))
    const disks = ['a', 'b', 'c'].map(name => new SimulatedDisk(MIB, { name, scheduler }))
    const ended: string[] = []
    await Promise.all(disks.flatMap(disk => [0, 1, 2].map(block => disk.write(block * 512, Buffer.alloc(512)).then(() => ended.push(`${disk.name}${block}`)))))
    return ended.join(' ')
  }
  const orders = await Promise.all(Array.from({ length: 20 }, (_, seed) => order(seed)))
  expect(new Set(orders).size).toBeGreaterThan(15)
  for (let seed = 0; seed < 20; seed++) expect(await order(seed)).toBe(orders[seed])
})

test.each(['write', 'writeDurable', 'writev'] as const)('the data of a %s is what it was when it was issued, also from a Buffer', async call => {
  const disk = new SimulatedDisk(MIB)
  const tape = new Tape([disk])
  const data = Buffer.from(stamp(0, 8192, 1))
  const write = call === 'writev' ? disk.writev(0, [data]) : disk[call](0, data)
  data.fill(0)
  await write
  expect((await bytes(disk, 0, 8192)).equals(stamp(0, 8192, 1))).toBe(true)
  await disk.write(512, Buffer.alloc(512))
  expect(disk.dropUnflushed()).toBe(call === 'writeDurable' ? 1 : 2)
  expect((await bytes(disk, 512, 512)).equals(call === 'writeDurable' ? stamp(512, 512, 1) : Buffer.alloc(512))).toBe(true)
  expect(tape.events.map(event => event.kind)).toEqual(['issue', 'complete', 'issue', 'complete', 'drop'])
})

test('pages: fork, branch and flatten keep every level apart', () => {
  const base = new SparsePages(MIB)
  base.write(0, stamp(0, 16384, 1))
  const fork = base.fork()
  expect(() => base.write(0, new Uint8Array(1))).toThrow('never changed')
  fork.write(4096, stamp(4096, 512, 2))
  fork.write(16384, stamp(16384, 512, 6))
  fork.punch(8192, 4096)
  const branch = fork.branch()
  fork.write(16384, stamp(16384, 512, 7))
  branch.write(4096, stamp(4096, 512, 3))
  fork.write(0, stamp(0, 512, 4))
  const flat = branch.flatten()
  flat.write(12288, stamp(12288, 512, 5))
  const look = (pages: SparsePages): number[] =>
    [0, 4096, 8192, 12288, 16384].map(offset => {
      const into = new Uint8Array(512)
      pages.read(offset, into)
      return new DataView(into.buffer).getUint32(8)
    })
  expect([base, fork, branch, flat].map(look)).toEqual([
    [1, 1, 1, 1, 0],
    [4, 2, 0, 1, 7],
    [1, 3, 0, 1, 6],
    [1, 3, 0, 5, 6],
  ])
  expect([base, fork, branch, flat].map(pages => pages.allocated)).toEqual([16384, 16384, 16384, 16384])
  expect(fork.extents(0, 20480).map(extent => `${extent.kind} ${extent.length}`)).toEqual(['data 8192', 'hole 4096', 'data 8192'])
})

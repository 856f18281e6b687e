/** F19: the pool is full when a chunk has to be preserved: the declared policy, durable before the source changes; never a mixed image. */
import { describe, expect, test } from 'vitest'
import { MIB } from '../../src/core/base/units.ts'
import { Random } from '../../src/core/base/random.ts'
import { CrashExplorer } from '../../src/core/block/crash-states.ts'
import { Tape } from '../../src/core/block/tape.ts'
import { expectConsistent, makeSim, openSim, readAll, stamped, withSeed, type SimPool } from '../support/sim.ts'

const SIZE = 16 * MIB
const first = stamped(SIZE, 1)

/** A source whose image has copies of its first half; nothing more can be bound. */
async function full(policy: 'fail-writes' | 'drop'): Promise<{ open: SimPool; disks: Awaited<ReturnType<typeof makeSim>> }> {
  const disks = await makeSim({ disks: 2 })
  const open = await openSim(disks)
  const { engine } = open
  const a = await open.create('a', 'raid1', SIZE)
  await open.create('b', 'raid1', SIZE)
  await a.write(0, first)
  await a.flush()
  await engine.call('snap.configure', { source: 'a', image: 'b', policy })
  await engine.call('snap.enable', { relationships: ['1'] })
  // A copy in each slice of the image's only store: the next one needs another.
  for (let at = 0; at < 8 * MIB; at += MIB) await write(open, 'a', at, stamped(4096, 2))
  for (let size = 64 * MIB; size >= MIB; size /= 2) {
    await open.luns.create({ name: `filler${size / MIB}`, size, raid: 'raid1', reserve: true }).catch((error: unknown) => {
      expect(error).toMatchObject({ code: 'ERR_POOL_FULL' })
    })
  }
  return { open, disks }
}

async function write(open: SimPool, name: string, offset: number, bytes: Buffer): Promise<void> {
  const device = await open.engine.openLun(name)
  try {
    await device.write(offset, bytes)
    await device.flush()
  } finally {
    await device.close()
  }
}

async function read(open: SimPool, name: string): Promise<Buffer> {
  const device = await open.engine.openLun(name, { readOnly: true })
  const bytes = await readAll(device)
  await device.close()
  return bytes
}

const overwritten = (() => {
  const bytes = Buffer.from(first)
  for (let at = 0; at < 8 * MIB; at += MIB) stamped(4096, 2).copy(bytes, at)
  return bytes
})()
const later = stamped(8192, 3)
const AT = 9 * MIB

describe('F19 the pool is full when an image needs a copy', () => {
  test('fail-writes: the write is refused and changes nothing, the image stays exact, and space added makes writes go on', async () => {
    const { open, disks } = await full('fail-writes')
    for (const length of [4096, 8192])
      await expect(write(open, 'a', AT, later.subarray(0, length))).rejects.toMatchObject({ code: 'ERR_POOL_FULL', exitCode: 6 })
    expect((await read(open, 'a')).equals(overwritten)).toBe(true)
    expect((await read(open, 'b')).equals(first)).toBe(true)
    // What the image has a copy of goes on.
    await write(open, 'a', 4096, overwritten.subarray(4096, 8192))
    const filler = open.luns.all.find(({ name }) => name.startsWith('filler'))!
    await open.engine.call('lun.delete', { lun: filler.name })
    await open.settled()
    await write(open, 'a', AT, later)
    const after = Buffer.from(overwritten)
    later.copy(after, AT)
    expect((await read(open, 'a')).equals(after)).toBe(true)
    expect((await read(open, 'b')).equals(first)).toBe(true)
    await open.close()
    await expectConsistent(disks)
  })

  test('drop: the source goes on, the image is refused by name, and a new instant makes it one again', async () => {
    const { open, disks } = await full('drop')
    await write(open, 'a', AT, later)
    const after = Buffer.from(overwritten)
    later.copy(after, AT)
    expect((await read(open, 'a')).equals(after)).toBe(true)
    await expect(open.engine.openLun('b', { readOnly: true })).rejects.toMatchObject({ code: 'ERR_IMAGE_INVALID' })
    expect(await open.count('relationship.invalid', 'DcsSnap1')).toBe(1)
    await open.close()
    const again = await openSim(disks)
    await expect(again.engine.openLun('b', { readOnly: true })).rejects.toMatchObject({ code: 'ERR_IMAGE_INVALID' })
    await again.engine.call('snap.enable', { relationships: ['1'], fresh: true })
    expect((await read(again, 'b')).equals(after)).toBe(true)
    await again.close()
    await expectConsistent(disks)
  })

  test.each(['fail-writes', 'drop'] as const)('%s: after a crash at any moment, the image is exact or refused', { timeout: 60_000 }, async policy => {
    const { open, disks } = await full(policy)
    const tape = new Tape(disks)
    await write(open, 'a', AT, later).catch((error: unknown) => {
      expect(error).toMatchObject({ code: 'ERR_POOL_FULL' })
    })
    tape.stop()
    const random = new Random(19)
    const explorer = new CrashExplorer(tape)
    let invalid = 0
    for (let cut = 0; cut <= tape.length; cut++) {
      const state = explorer.at(cut).state(random)
      await withSeed(`19, cut ${cut}`, async () => {
        const after = await openSim(state.disks)
        const source = await read(after, 'a')
        const isNew = !source.subarray(AT, AT + later.length).equals(first.subarray(AT, AT + later.length))
        const refused = await read(after, 'b').then(
          bytes => (bytes.equals(first) ? undefined : 'wrong'),
          (error: unknown) => (error as { code: string }).code,
        )
        expect([undefined, 'ERR_IMAGE_INVALID']).toContain(refused)
        if (refused !== undefined) invalid++
        // The loss is durable before the source changes.
        if (isNew) expect([policy, refused]).toEqual(['drop', 'ERR_IMAGE_INVALID'])
        await after.close()
        await expectConsistent(state.disks)
      })
    }
    expect(invalid > 0).toBe(policy === 'drop')
  })
})

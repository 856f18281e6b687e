/** F25: a disk fails in the middle of complete image or an update: mirrors go on to the end; without redundancy the process stops with a reason. */
import { describe, expect, test } from 'vitest'
import { contentsOf, expectContents, kinds, prepare, start, updated } from '../support/copies.ts'
import { ioError } from '../support/io-error.ts'
import { clones, expectConsistent, openSim, readAll, withSeed, type SimPool } from '../support/sim.ts'

const SEED = 25
const mirrored = await prepare({ disks: 4, seed: SEED })

/** A disk does so many more writes and flushes, and then nothing. */
function failAfter(disk: (typeof mirrored.disks)[number], operations: number): void {
  let left = operations
  disk.plan = ({ kind }) => {
    if (kind === 'read') return left > 0 ? undefined : ioError('it broke')
    return left-- > 0 ? undefined : ioError('it broke')
  }
}

async function lastTask(open: SimPool): Promise<{ kind: string; state: string; reason: string | null }> {
  return (await open.engine.call('task.list', {})).data.filter(({ kind }) => kinds.some(name => name === kind)).at(-1)!
}

describe('F25 a disk fails while a relationship is copied', () => {
  test.each(kinds)(`%s of mirrors: every disk, early and late: it comes to its end without a difference (seed ${SEED})`, { timeout: 120_000 }, async kind => {
    const wanted = updated(mirrored.contents, kind)
    let failed = 0
    for (const [victim] of mirrored.disks.entries()) {
      for (const operations of [0, 2, 5, 9, 14]) {
        await withSeed(`${SEED}, disk ${victim} after ${operations}`, async () => {
          const disks = clones(mirrored.disks)
          const open = await openSim(disks)
          failAfter(disks[victim]!, operations)
          await start(open, kind)
          await open.settled()
          expect(await lastTask(open)).toMatchObject({ kind, state: 'done' })
          expectContents(await contentsOf(open), wanted, 'with a disk lost')
          if (open.pool.disk(victim).state === 'failed') failed++
          await open.close()
          for (const disk of disks) disk.plan = undefined
          const again = await openSim(disks)
          await again.settled()
          expectContents(await contentsOf(again), wanted, 'opened again')
          await again.close()
          await expectConsistent(disks)
        })
      }
    }
    expect(failed).toBeGreaterThan(mirrored.disks.length)
  })

  test(
    'an image update of an image without redundancy: it stops with a reason, the source is untouched, the image is refused',
    { timeout: 60_000 },
    async () => {
      const { disks, contents } = await prepare({ disks: 4, seed: SEED, raid: ['raid1', 'raid0'] })
      const open = await openSim(disks)
      const { stores } = open.lun('b')
      await stores.table.load(0)
      const [victim] = stores.members.disksOf(0)
      disks[victim!.number]!.plan = ({ kind }) => (kind === 'flush' ? ioError('it broke') : undefined)
      await start(open, 'imageUpdate').catch((error: unknown) => {
        expect(error).toMatchObject({ code: 'ERR_SUSPENDED' })
      })
      await open.settled()
      const source = await open.engine.openLun('a', { readOnly: true })
      expect((await readAll(source)).equals(contents.a)).toBe(true)
      await source.close()
      await expect(open.engine.openLun('b')).rejects.toMatchObject({ code: expect.stringMatching(/^ERR_(MIXED|IMAGE_INVALID)$/) as string })
      const task = await lastTask(open)
      expect(task.state).toBe('failed')
      expect(task.reason).toMatch(/suspended|flush|Cannot/)
      await open.close()
    },
  )
})

/** F15: power is lost, and with it all that was not flushed: on one disk, on all at once, on all at moments of their own, and again during recovery. */
import { describe, expect, test } from 'vitest'
import { Random } from '../../src/core/base/random.ts'
import { KIB, MIB } from '../../src/core/base/units.ts'
import { SimulatedDisk } from '../../src/core/block/simulated.ts'
import { goDark, goDarkTogether, untilQuiet } from '../support/power.ts'
import { clones, expectConsistent, expectSound, makeSim, openSim, readAll, stamped, withSeed, type SimPool } from '../support/sim.ts'

const SEED = 15
const CUTS = 200
const SIZE = 2 * MIB
const PIECE = 32 * KIB
const ROUNDS = 6
const first = stamped(SIZE, 1)

interface Write {
  readonly at: number
  readonly bytes: Buffer
}

/** What a workload asked for and what it was told. */
class Told {
  /** Writes that were flushed, in order, and those that came after. */
  flushed: Write[] = []
  pending: Write[] = []
  /** LUNs whose creation was acknowledged, and whether another one was asked for. */
  made = 0
  asked = 0

  flush(): void {
    this.flushed.push(...this.pending.splice(0))
  }

  /** Each sector holds what was flushed last, or what was written over it since. */
  check(found: Buffer): void {
    const sure = Buffer.from(first)
    for (const { at, bytes } of this.flushed) bytes.copy(sure, at)
    for (let at = 0; at < SIZE; at += 512) {
      const sector = found.subarray(at, at + 512)
      if (sector.equals(sure.subarray(at, at + 512))) continue
      const later = this.pending.some(
        write => write.at <= at && at < write.at + PIECE && sector.equals(write.bytes.subarray(at - write.at, at - write.at + 512)),
      )
      if (!later) throw new Error(`byte ${at} is neither what was flushed nor what was written after it`)
    }
  }
}

async function workload(open: SimPool, random: Random, told: Told): Promise<void> {
  const lun = open.lun('a')
  for (let round = 0; round < ROUNDS; round++) {
    for (let i = 0; i < 3; i++) {
      const write = { at: random.below(SIZE / PIECE) * PIECE, bytes: stamped(PIECE, random.u32()) }
      told.pending.push(write)
      await lun.write(write.at, write.bytes)
    }
    told.asked++
    await open.create(`lun${round}`, 'raid0', MIB)
    told.made++
    if (round === 2) await open.pool.metadata.checkpoint()
    await lun.flush()
    told.flush()
  }
}

const lightsOut = {
  /** One disk loses what it had not flushed; what the others took is there. */
  'one disk': (disks: SimulatedDisk[], random: Random) => {
    const victim = random.pick(disks)
    goDark(
      disks,
      disks.map(disk => (disk === victim ? random.between(1, 40) : Infinity)),
    )
    return [victim]
  },
  'all disks at once': (disks: SimulatedDisk[], random: Random) => {
    goDarkTogether(disks, random.between(1, 160))
    return disks
  },
  'each disk at its own moment': (disks: SimulatedDisk[], random: Random) => {
    goDark(
      disks,
      disks.map(() => random.between(1, 40)),
    )
    return disks
  },
} satisfies Record<string, (disks: SimulatedDisk[], random: Random) => SimulatedDisk[]>

/** Runs `work` until the lights are out. @returns the disks as they are found afterwards */
async function until(disks: SimulatedDisk[], losers: readonly SimulatedDisk[], work: Promise<unknown>): Promise<SimulatedDisk[]> {
  await untilQuiet(disks, work)
  for (const disk of losers) disk.dropUnflushed()
  return disks.map(disk => new SimulatedDisk(disk.size, { name: disk.name, contents: disk.snapshot() }))
}

describe.each(['raid1', 'raid0'] as const)('F15 power loss under %s', async raid => {
  const base = await makeSim({ disks: 4, seed: SEED })
  const made = await openSim(base)
  const lun = await made.create('a', raid, SIZE)
  await lun.write(0, first)
  await lun.flush()
  await made.close()

  test.each(Object.keys(lightsOut) as (keyof typeof lightsOut)[])(`%s (seed ${SEED})`, { timeout: 120_000 }, async how => {
    const random = new Random(SEED + how.length)
    let early = 0
    for (let i = 0; i < Math.ceil(CUTS / 3); i++) {
      const seed = random.u32()
      await withSeed(`${raid}, ${how}, ${i}, seed ${seed}`, async () => {
        const own = new Random(seed)
        const disks = clones(base)
        const open = await openSim(disks)
        const told = new Told()
        let dark = await until(disks, lightsOut[how](disks, own), workload(open, own, told))
        if (told.made < ROUNDS) early++
        // The lights go out five times more while the pool is opened and resynced.
        for (let again = 0; i % 8 === 0 && again < 5; again++) {
          dark = await until(
            dark,
            lightsOut[how](dark, own),
            openSim(dark).then(opened => opened.settled()),
          )
          await expectConsistent(dark)
        }
        const found = await openSim(dark)
        const names = found.luns.all.map(({ name }) => name)
        expect([told.made + 1, told.asked + 1]).toContain(names.length)
        expect(names).toEqual(['a', ...Array.from({ length: names.length - 1 }, (_, n) => `lun${n}`)])
        const data = await readAll(found.lun('a'))
        told.check(data)
        expect((await readAll(found.lun('a'))).equals(data)).toBe(true)
        await found.settled()
        expect((await readAll(found.lun('a'))).equals(data)).toBe(true)
        expect((await found.engine.call('pool.status', {})).data.health).toBe('healthy')
        await found.close()
        await expectSound(dark)
      })
    }
    expect(early).toBeGreaterThan(CUTS / 10)
  })
})

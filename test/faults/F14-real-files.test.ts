/** F14, F15 on real image files: crash states of a workload, disks cut at different moments, written out and opened by the program. (The simulation has the many; here are few.) */
import { describe, expect, test } from 'vitest'
import { Random } from '../../src/core/base/random.ts'
import { MIB } from '../../src/core/base/units.ts'
import { CrashExplorer } from '../../src/core/block/crash-states.ts'
import { SimulatedDisk } from '../../src/core/block/simulated.ts'
import { Tape } from '../../src/core/block/tape.ts'
import { exportPool, importPools } from '../../src/core/server/front.ts'
import { clones, makeSim, openSim, readAll, stamped, withSeed } from '../support/sim.ts'
import { goDark, untilQuiet } from '../support/power.ts'
import { writeImage } from '../support/images.ts'
import { expectConsistentFiles, expectSoundFiles, lunOnFiles, useProgram } from '../support/program.ts'

const SEED = 14
const STATES = 12

/** Versions of the first MiB of a mirror: written and flushed one after the other. */
const versions = [1, 2, 3, 4].map(tag => stamped(MIB, tag))

async function recorded(): Promise<{ tape: Tape; flushed: number[] }> {
  const disks = await makeSim({ disks: 3, seed: SEED })
  const open = await openSim(disks)
  const lun = await open.create('a', 'raid1', 8 * MIB)
  await lun.write(0, versions[0]!)
  await lun.flush()
  for (const disk of disks) await disk.flush()
  const tape = new Tape(disks)
  const flushed = [0]
  for (const [i, version] of versions.slice(1).entries()) {
    await lun.write(0, version)
    await open.create(`lun${i}`, 'raid0', MIB)
    await lun.flush()
    flushed.push(tape.mark(`version ${i + 2}`))
  }
  tape.stop()
  return { tape, flushed }
}

describe('F14 F15 crash states on real files', async () => {
  const { tape, flushed } = await recorded()
  const lunar = useProgram()

  async function check(disks: readonly SimulatedDisk[], acknowledged: number): Promise<void> {
    const paths = disks.map((_, i) => lunar.path(`d${i}.img`))
    for (const [i, disk] of disks.entries()) await writeImage(paths[i]!, disk)
    await expectConsistentFiles(paths)
    await lunar.inside(() => importPools({ paths, command: 'test' }))
    const first = await lunar.reopened(async service => {
      const device = await service.openLun('a')
      const [found, again] = [await readAll(device, 0, MIB), await readAll(device, 0, MIB)]
      expect(again.equals(found)).toBe(true)
      await device.close()
      const names = (await service.call('lun.list', {})).data.map(({ name }) => name)
      expect(names).toEqual(expect.arrayContaining(['a', ...Array.from({ length: acknowledged }, (_, i) => `lun${i}`)]))
      return found
    })
    // Each sector is of the last version that was flushed or of a later one.
    const allowed = versions.slice(acknowledged)
    for (let at = 0; at < MIB; at += 512)
      expect(
        allowed.some(version => version.subarray(at, at + 512).equals(first.subarray(at, at + 512))),
        `byte ${at}`,
      ).toBe(true)
    await lunar.inside(() => exportPool({ command: 'test' }))
    await expectSoundFiles(paths)
    expect((await lunOnFiles(paths, 'a')).subarray(0, MIB).equals(first)).toBe(true)
  }

  test(`F14: any subset of unflushed writes, torn (seed ${SEED})`, { timeout: 120_000 }, async () => {
    const random = new Random(SEED)
    const explorer = new CrashExplorer(tape)
    const cuts = Array.from({ length: STATES }, () => random.between(0, tape.length)).sort((a, b) => a - b)
    for (const cut of cuts) {
      const state = explorer.at(cut).state(random)
      await withSeed(`${SEED}, cut ${cut}, state ${state.hash}`, () => check(state.disks, flushed.filter(end => end <= cut).length - 1))
    }
  })

  test(`F15: all that was not flushed is gone, each disk at a moment of its own (seed ${SEED})`, { timeout: 120_000 }, async () => {
    const random = new Random(SEED + 1)
    for (let i = 0; i < 6; i++) {
      const base = clones(await makeSim({ disks: 3, seed: SEED }))
      const open = await openSim(base)
      const lun = await open.create('a', 'raid1', 8 * MIB)
      await lun.write(0, versions[0]!)
      await lun.flush()
      let acknowledged = 0
      // Each disk goes dark after a number of operations of its own; what it had not flushed is lost.
      const lives = base.map(() => random.between(1, 40))
      goDark(base, lives)
      const working = (async () => {
        for (const [n, version] of versions.slice(1).entries()) {
          await lun.write(0, version)
          await open.create(`lun${n}`, 'raid0', MIB)
          await lun.flush()
          acknowledged = n + 1
        }
      })()
      await untilQuiet(base, working)
      for (const disk of base) disk.dropUnflushed()
      await withSeed(`${SEED + 1}, case ${i}, lives ${lives.join()}`, () =>
        check(
          base.map(disk => new SimulatedDisk(disk.size, { name: disk.name, contents: disk.snapshot() })),
          acknowledged,
        ),
      )
    }
  })
})

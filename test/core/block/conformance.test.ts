import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe } from 'vitest'
import { Random } from '../../../src/core/base/random.ts'
import { FileDisk } from '../../../src/core/block/file.ts'
import { useNativeCalls } from '../../../src/core/block/host.ts'
import { MemoryDevice } from '../../../src/core/block/memory.ts'
import { Scheduler, SimulatedDisk } from '../../../src/core/block/simulated.ts'
import { blockDeviceSuite } from '../../conformance/block-device.ts'
import { diskSuite } from '../../conformance/disk.ts'

const size = 4 * 1024 * 1024
const folder = await mkdtemp(join(tmpdir(), 'lunar-disks-'))
afterAll(() => rm(folder, { recursive: true }))
let made = 0

const fileFixture = async () => {
  const path = join(folder, `${made++}.img`)
  const device = await FileDisk.create(path, size)
  const dispose = async (): Promise<void> => {
    await device.close()
    await rm(path)
  }
  return { device, again: () => FileDisk.open(path), dispose }
}

blockDeviceSuite('MemoryDevice', async () => {
  const device = new MemoryDevice(size)
  return { device, dispose: () => device.close() }
})

blockDeviceSuite('MemoryDevice with 4 KiB blocks', async () => {
  const device = new MemoryDevice(size, 4096)
  return { device, dispose: () => device.close() }
})

diskSuite('FileDisk', fileFixture)

describe('without native calls', () => {
  diskSuite(
    'FileDisk',
    async () => {
      useNativeCalls(false)
      const fixture = await fileFixture()
      const dispose = async (): Promise<void> => {
        useNativeCalls(true)
        await fixture.dispose()
      }
      return { ...fixture, dispose }
    },
    5,
  )
})

diskSuite('SimulatedDisk', async () => {
  const device = new SimulatedDisk(size)
  return { device, dispose: () => device.close() }
})

diskSuite(
  'SimulatedDisk with a scheduler and short transfers',
  async () => {
    const device = new SimulatedDisk(size, {
      scheduler: new Scheduler(new Random(5)),
      plan: ({ ordinal }) => (ordinal % 3 === 0 ? { short: 1024 } : undefined),
    })
    return { device, dispose: () => device.close() }
  },
  10,
)

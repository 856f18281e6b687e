/** Disks whose image became shorter or longer, and a pool with a mirror to see what it makes of them. */
import { MIB } from '../../src/core/base/units.ts'
import { SimulatedDisk } from '../../src/core/block/simulated.ts'
import type { Program } from './program.ts'
import { bytesOf, makeSim, openSim, stamped } from './sim.ts'

const SIZE = 16 * MIB
/** What the mirrored LUN "a" of `poolWithMirror` holds. */
export const contents = stamped(SIZE, 1)

export async function poolWithMirror(): Promise<SimulatedDisk[]> {
  const disks = await makeSim()
  const open = await openSim(disks)
  const lun = await open.create('a', 'raid1', SIZE)
  await lun.write(0, contents)
  await lun.flush()
  await open.close()
  return disks
}

/** The same disk with its end cut off, or with zeros behind it. */
export async function resized(disk: SimulatedDisk, size: number): Promise<SimulatedDisk> {
  const other = new SimulatedDisk(size, { name: disk.name })
  for (let at = 0; at < Math.min(size, disk.size); at += MIB) {
    const bytes = await bytesOf(disk, at, Math.min(MIB, size - at, disk.size - at))
    if (bytes.some(byte => byte !== 0)) await other.writeDurable(at, bytes)
  }
  return other
}

/** Pool "tank" of three image files with a mirrored LUN "a" that holds `stamped(4 MiB, 1)`. */
export function tankWithMirror(lunar: Program): string[] {
  const disks = lunar.makeTank(3)
  lunar.ok('lun', 'create', 'tank/a', '--size', '4MiB', '--raid', 'raid1')
  lunar.ok('lun', 'import', 'tank/a', lunar.write('a.bin', stamped(4 * MIB, 1)), '--yes')
  return disks
}

/** Write-once devices in simulated pools, their files simulated too. */
import { KIB, MIB } from '../../src/core/base/units.ts'
import type { WriteOnceDevice } from '../../src/core/block/write-once.ts'
import { LunarError } from '../../src/core/base/errors.ts'
import { SimulatedDisk } from '../../src/core/block/simulated.ts'
import type { WodFiles } from '../../src/core/wod/files.ts'
import { onLun, Wods } from '../../src/core/wod/wods.ts'
import type { WodKind } from '../../src/metadata/records.ts'
import { createSimulated, openSimulated, simulatedDisks, type OpenPool } from './simulated-pool.ts'

export const wodKindsAll: readonly WodKind[] = ['file', 'vdisk', 'lun', 'store']

/** A disk that several openings share, as they share a file. */
class SharedFile extends SimulatedDisk {
  override close(): Promise<void> {
    return Promise.resolve()
  }
}

export class SimulatedFiles implements WodFiles {
  readonly disks = new Map<string, SimulatedDisk>()

  create(path: string, size: number): Promise<SimulatedDisk> {
    if (this.disks.has(path)) return Promise.reject(new LunarError('ERR_EXISTS', `Cannot create ${path}`))
    const disk = new SharedFile(size, { name: path })
    this.disks.set(path, disk)
    return Promise.resolve(disk)
  }
  open(path: string): Promise<SimulatedDisk> {
    const disk = this.disks.get(path)
    return disk ? Promise.resolve(disk) : Promise.reject(new LunarError('ERR_FILE_NOT_FOUND', `Cannot open ${path}`))
  }
  remove(path: string): Promise<void> {
    this.disks.delete(path)
    return Promise.resolve()
  }
}

export interface OpenWods extends OpenPool {
  readonly wods: Wods
}

export async function openWods(disks: readonly SimulatedDisk[], files: SimulatedFiles): Promise<OpenWods> {
  const open = await openSimulated(disks)
  return { ...open, wods: await Wods.load(open.pool, open.luns, files) }
}

export class WodPool {
  private constructor(
    readonly disks: readonly SimulatedDisk[],
    readonly files: SimulatedFiles,
    public open: OpenWods,
  ) {}

  static async make(): Promise<WodPool> {
    const disks = simulatedDisks(3)
    await createSimulated(disks)
    const files = new SimulatedFiles()
    return new WodPool(disks, files, await openWods(disks, files))
  }

  async create(on: WodKind, size = 4 * MIB, blockBytes = 64 * KIB): Promise<WriteOnceDevice> {
    await this.open.wods.create({ name: 'w', on, size, blockBytes, raid: 'raid1', ...(onLun(on) ? {} : { path: '/w.wod' }) })
    return this.device()
  }

  device(): Promise<WriteOnceDevice> {
    return this.open.wods.find('w').device()
  }

  /** Everything is closed and opened again. */
  async reopen(): Promise<WriteOnceDevice> {
    await this.open.pool.close()
    this.open = await openWods(this.disks, this.files)
    return this.device()
  }
}

import { LunarError } from '../base/errors.ts'
import type { Disk } from '../block/device.ts'
import { SLICE } from '../raid/geometry.ts'
import type { Lun } from '../lun/lun.ts'

/** What slots lie on: bytes at addresses that take space when they are written. Ranges are whole slots. */
export interface Backing {
  write(offset: number, data: Uint8Array): Promise<void>
  read(offset: number, into: Uint8Array): Promise<void>
  /** What was written is on stable storage. @throws an error after which nothing that was not committed is trusted */
  flush(): Promise<void>
  /** The space of the range may be given back. */
  trim(offset: number, length: number): Promise<void>
}

/** A file: its blocks on the host are taken before they are written, so that no flush can meet a full host. */
export class FileBacking implements Backing {
  private broken: unknown

  constructor(private readonly disk: Disk) {}

  async write(offset: number, data: Uint8Array): Promise<void> {
    this.checkSound()
    await this.disk.reserve(offset, data.length)
    await this.disk.write(offset, data)
  }

  read(offset: number, into: Uint8Array): Promise<void> {
    return this.disk.read(offset, into)
  }

  /** The host tells of a write that it lost once only, and maybe to another caller: after a failure no flush is believed (hazard 11). */
  async flush(): Promise<void> {
    this.checkSound()
    try {
      await this.disk.flush()
    } catch (error) {
      this.broken ??= error
      throw error
    }
    this.checkSound()
  }

  trim(offset: number, length: number): Promise<void> {
    return this.disk.punch(offset, length)
  }

  private checkSound(): void {
    if (this.broken !== undefined)
      throw new LunarError('ERR_SUSPENDED', `Cannot write to ${this.disk.name}`, { why: 'a flush of it failed', cause: this.broken })
  }
}

/** A thin LUN, with the redundancy it has. */
export class LunBacking implements Backing {
  constructor(private readonly lun: Lun) {}

  write(offset: number, data: Uint8Array): Promise<void> {
    return this.lun.write(offset, data)
  }
  read(offset: number, into: Uint8Array): Promise<void> {
    return this.lun.read(offset, into)
  }
  flush(): Promise<void> {
    return this.lun.flush()
  }
  /** Whole slices of 1 MiB are given back. */
  async trim(offset: number, length: number): Promise<void> {
    if (Math.floor((offset + length) / SLICE) > Math.ceil(offset / SLICE)) await this.lun.trim(offset, length)
  }
}

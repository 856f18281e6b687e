import { LunarError } from '../base/errors.ts'
import type { Traffic } from '../base/traffic.ts'
import { BlockLayer, fastOf, type BlockDevice, type Extent, type FastDevice } from '../block/device.ts'

/** What can be opened: it knows who has it, and what was asked of it. */
export interface Openable {
  readonly name: string
  readonly users: string[]
  readonly traffic: Traffic
}

/** A LUN in use by somebody: busy until it is closed, and of no use afterwards; changes refused when opened for reading only. */
export class OpenLun extends BlockLayer implements FastDevice {
  private open = true
  private readonly fast: FastDevice | undefined
  private readonly traffic: Traffic

  constructor(
    private readonly lun: Openable,
    /** What lies over the LUN. */
    device: BlockDevice,
    private readonly readOnly: boolean,
    /** Whom the LUN is open for, as messages name them. */
    private readonly user = `process ${process.pid}`,
  ) {
    super(device)
    this.fast = fastOf(device)
    this.traffic = lun.traffic
    lun.users.push(user)
  }

  tryRead(offset: number, into: Uint8Array): boolean {
    if (!this.open || this.fast?.tryRead(offset, into) !== true) return false
    this.traffic.read(into.length)
    return true
  }
  tryWrite(offset: number, data: Uint8Array): boolean {
    if (!this.open || this.readOnly || this.fast?.tryWrite(offset, data) !== true) return false
    this.traffic.wrote(data.length)
    return true
  }
  override read(offset: number, into: Uint8Array): Promise<void> {
    this.traffic.read(into.length)
    return this.whenOpen(() => super.read(offset, into))
  }
  override readv(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    this.traffic.read(total(parts))
    return this.whenOpen(() => super.readv(offset, parts))
  }
  override write(offset: number, data: Uint8Array): Promise<void> {
    this.traffic.wrote(data.length)
    return this.whenWritable(() => super.write(offset, data))
  }
  override writev(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    this.traffic.wrote(total(parts))
    return this.whenWritable(() => super.writev(offset, parts))
  }
  override trim(offset: number, length: number): Promise<void> {
    this.traffic.discarded(length)
    return this.whenWritable(() => super.trim(offset, length))
  }
  override zero(offset: number, length: number): Promise<void> {
    this.traffic.discarded(length)
    return this.whenWritable(() => super.zero(offset, length))
  }
  override flush(): Promise<void> {
    this.traffic.flushes++
    return this.whenOpen(() => super.flush())
  }
  override extents(offset: number, length: number): Promise<Extent[]> {
    return this.whenOpen(() => super.extents(offset, length))
  }

  override close(): Promise<void> {
    if (this.open) this.lun.users.splice(this.lun.users.indexOf(this.user), 1)
    this.open = false
    return Promise.resolve()
  }

  private whenOpen<T>(use: () => Promise<T>): Promise<T> {
    return this.open ? use() : Promise.reject(new LunarError('ERR_BUG', `Invariant broken: LUN "${this.lun.name}" is used after it was closed`))
  }

  private whenWritable(use: () => Promise<void>): Promise<void> {
    return this.readOnly ? Promise.reject(new LunarError('ERR_READ_ONLY', `Cannot write to LUN "${this.lun.name}"`)) : this.whenOpen(use)
  }
}

const total = (parts: readonly Uint8Array[]): number => parts.reduce((sum, part) => sum + part.length, 0)

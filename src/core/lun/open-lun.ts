import { bytesOf } from '../base/bytes.ts'
import type { Traffic } from '../base/traffic.ts'
import { AccessLayer } from '../block/access.ts'
import type { BlockDevice } from '../block/device.ts'
import { layersOf, type LayerView } from '../block/layers.ts'

/** What can be opened: it knows who has it, and what was asked of it. */
export interface Openable {
  /** For messages: `LUN "db"`. */
  readonly label: string
  readonly users: string[]
  readonly traffic: Traffic
  /** The ways in that are open now, for whoever shows them. */
  readonly ways: Set<OpenLun>
}

/** A LUN or a snapshot in use by somebody: busy until it is closed, and of no use afterwards; changes refused when opened for reading only. */
export class OpenLun extends AccessLayer {
  private readonly traffic: Traffic

  constructor(
    private readonly lun: Openable,
    /** What lies over the LUN. */
    device: BlockDevice,
    isReadOnly: boolean,
    /** Whom the LUN is open for, as messages name them. */
    private readonly user = `process ${process.pid}`,
    /** How they came in. */
    private readonly protocol = 'local',
  ) {
    super(device, isReadOnly, () => lun.label)
    this.traffic = lun.traffic
    lun.users.push(user)
    lun.ways.add(this)
  }

  /** The layers that are its own. @param volume what it shares with other ways in */
  wayTo(volume: BlockDevice): LayerView {
    return { layer: 'protocol', about: `${this.protocol}, ${this.user}`, below: layersOf(this, volume) }
  }

  override tryRead(offset: number, into: Uint8Array): boolean {
    if (!super.tryRead(offset, into)) return false
    this.traffic.read(into.length)
    return true
  }
  override tryWrite(offset: number, data: Uint8Array): boolean {
    if (!super.tryWrite(offset, data)) return false
    this.traffic.wrote(data.length)
    return true
  }
  override read(offset: number, into: Uint8Array): Promise<void> {
    this.traffic.read(into.length)
    return super.read(offset, into)
  }
  override readv(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    this.traffic.read(bytesOf(parts))
    return super.readv(offset, parts)
  }
  override write(offset: number, data: Uint8Array): Promise<void> {
    this.traffic.wrote(data.length)
    return super.write(offset, data)
  }
  override writev(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    this.traffic.wrote(bytesOf(parts))
    return super.writev(offset, parts)
  }
  override trim(offset: number, length: number): Promise<void> {
    this.traffic.discarded(length)
    return super.trim(offset, length)
  }
  override zero(offset: number, length: number): Promise<void> {
    this.traffic.discarded(length)
    return super.zero(offset, length)
  }
  override flush(): Promise<void> {
    this.traffic.flushes++
    return super.flush()
  }

  override close(): Promise<void> {
    if (this.lun.ways.delete(this)) this.lun.users.splice(this.lun.users.indexOf(this.user), 1)
    return super.close()
  }
}

/** The layer that says what whoever opened a device may do (features.md B13: capabilities). */
import { LunarError } from '../base/errors.ts'
import { BlockLayer, fastOf, hurry, type BlockDevice, type Extent, type FastDevice, type Hurried } from './device.ts'
import type { Layered, ShownLayer } from './layers.ts'

export class AccessLayer extends BlockLayer implements FastDevice, Layered, Hurried {
  private readonly fast: FastDevice | undefined
  /** Nothing is allowed any more. */
  private closed = false

  constructor(
    next: BlockDevice,
    private readonly isReadOnly: boolean,
    /** For messages, as it is called now: `LUN "db"`. */
    private readonly label: () => string,
  ) {
    super(next)
    this.fast = fastOf(next)
  }

  get shown(): ShownLayer | undefined {
    return { layer: 'access', about: this.isReadOnly ? 'read-only' : 'read-write' }
  }
  get below(): BlockDevice {
    return this.next
  }

  tryRead(offset: number, into: Uint8Array): boolean {
    return !this.closed && this.fast?.tryRead(offset, into) === true
  }
  tryWrite(offset: number, data: Uint8Array): boolean {
    return !this.closed && !this.isReadOnly && this.fast?.tryWrite(offset, data) === true
  }
  override read(offset: number, into: Uint8Array): Promise<void> {
    return this.whenOpen(() => super.read(offset, into))
  }
  override readv(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    return this.whenOpen(() => super.readv(offset, parts))
  }
  override write(offset: number, data: Uint8Array): Promise<void> {
    return this.whenWritable(() => super.write(offset, data))
  }
  override writev(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    return this.whenWritable(() => super.writev(offset, parts))
  }
  override trim(offset: number, length: number): Promise<void> {
    return this.whenWritable(() => super.trim(offset, length))
  }
  override zero(offset: number, length: number): Promise<void> {
    return this.whenWritable(() => super.zero(offset, length))
  }
  override flush(): Promise<void> {
    return this.whenOpen(() => super.flush())
  }
  override extents(offset: number, length: number): Promise<Extent[]> {
    return this.whenOpen(() => super.extents(offset, length))
  }

  hurry(): void {
    hurry(this.next)
  }

  override close(): Promise<void> {
    this.closed = true
    return super.close()
  }

  private whenOpen<T>(use: () => Promise<T>): Promise<T> {
    return this.closed ? Promise.reject(new LunarError('ERR_BUG', `Invariant broken: ${this.label()} is used after it was closed`)) : use()
  }

  private whenWritable(use: () => Promise<void>): Promise<void> {
    return this.isReadOnly ? Promise.reject(new LunarError('ERR_READ_ONLY', `Cannot write to ${this.label()}`)) : this.whenOpen(use)
  }
}

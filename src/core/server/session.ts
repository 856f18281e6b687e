import type { ServerResponse } from 'node:http'
import { LunarError } from '../base/errors.ts'
import { hurry, type BlockDevice } from '../block/device.ts'
import type { RelationshipHold } from './api.ts'
import type { SessionRequest } from './wire.ts'

/** Devices, and relationships, that one client may have open. */
const HANDLES_MAX = 256

/** One client of an owner, for as long as its first connection lives. What it opened is closed when it goes. */
export class Session {
  readonly id = crypto.randomUUID()
  private readonly devices = new Map<number, { name: string; device: BlockDevice; users: number; closing: boolean }>()
  private readonly holds = new Map<number, RelationshipHold>()
  private readonly running = new Set<AbortController>()
  private nextHandle = 1
  private gone = false

  constructor(
    readonly client: SessionRequest & { readonly address?: string },
    readonly stream: ServerResponse,
  ) {}

  /** Anything the client is in the middle of: a request, or a LUN or relationship that it has open. */
  get busy(): boolean {
    return this.running.size > 0 || this.devices.size > 0 || this.holds.size > 0
  }

  /** It asks one thing, and has no session that tells when it goes. */
  get isGuest(): boolean {
    return this.client.pid === 0
  }

  /** The client, for messages. */
  get who(): string {
    const { pid, user, address, command } = this.client
    return address === undefined ? `process ${pid} (${command})` : `${user} at ${address} (${command})`
  }

  /** For messages about who is in the way. */
  describe(): string {
    const held = [...this.holds.values()].map(({ number }) => `relationship ${number}`)
    const open = [...new Set([...[...this.devices.values()].map(({ name }) => name), ...held])]
    return `${this.who}${open.length > 0 ? `, which has ${open.join(', ')} open` : ''}`
  }

  /** Runs a request; its signal aborts when the client goes or `abort` says so. */
  async run<T>(task: (signal: AbortSignal, abort: AbortController) => Promise<T>): Promise<T> {
    const controller = new AbortController()
    if (this.gone) controller.abort(goneError())
    this.running.add(controller)
    try {
      return await task(controller.signal, controller)
    } finally {
      this.running.delete(controller)
    }
  }

  async add(name: string, device: BlockDevice): Promise<number> {
    await this.requireRoom(this.devices, device, `LUN ${name}`)
    const handle = this.nextHandle++
    this.devices.set(handle, { name, device, users: 0, closing: false })
    return handle
  }

  /** Keeps a relationship from being unconfigured until the client releases it or goes. */
  async keep(hold: RelationshipHold): Promise<number> {
    await this.requireRoom(this.holds, hold, `a handle of relationship ${hold.number}`)
    const handle = this.nextHandle++
    this.holds.set(handle, hold)
    return handle
  }

  async release(handle: number): Promise<void> {
    const hold = this.holds.get(handle)
    this.holds.delete(handle)
    await hold?.close()
  }

  private async requireRoom(among: ReadonlyMap<number, unknown>, opened: { close(): Promise<void> }, what: string): Promise<void> {
    if (!this.gone && among.size < HANDLES_MAX) return
    await opened.close()
    throw this.gone ? goneError() : new LunarError('ERR_HOST_LIMIT', `Cannot open ${what}`, { why: `one client may have ${HANDLES_MAX} open` })
  }

  /** Uses an open device; it is not closed below the request. */
  async use<T>(handle: number, task: (device: BlockDevice, name: string) => Promise<T>): Promise<T> {
    const entry = this.devices.get(handle)
    if (!entry || entry.closing) throw new LunarError('ERR_USAGE', 'Cannot use the device', { why: `the session has no open device ${handle}` })
    entry.users++
    try {
      return await task(entry.device, entry.name)
    } finally {
      entry.users--
      if (entry.closing && entry.users === 0) await this.remove(handle)
    }
  }

  /** The client has to go soon: what it has asked for is not held back. */
  hurry(): void {
    for (const { device } of this.devices.values()) hurry(device)
  }

  /** Closes a device, once its last request has ended. */
  async closeDevice(handle: number): Promise<void> {
    const entry = this.devices.get(handle)
    if (!entry) return
    entry.closing = true
    hurry(entry.device)
    if (entry.users === 0) await this.remove(handle)
  }

  private async remove(handle: number): Promise<void> {
    const entry = this.devices.get(handle)
    this.devices.delete(handle)
    await entry?.device.close()
  }

  /** The client has gone, or must go: what it waits for is aborted, what it opened is closed. */
  async end(): Promise<void> {
    if (this.gone) return
    this.gone = true
    for (const controller of this.running) controller.abort(goneError())
    this.stream.destroy()
    await Promise.all([...[...this.devices.keys()].map(handle => this.closeDevice(handle)), ...[...this.holds.keys()].map(handle => this.release(handle))])
  }
}

const goneError = (): LunarError => new LunarError('ERR_INTERRUPTED', 'The request was given up', { why: 'the client has gone' })

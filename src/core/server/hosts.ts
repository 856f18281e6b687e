/** Hosts, and which volumes they reach (features.md B14, F2): the directory, and everything that changes it. */
import { LunarError } from '../base/errors.ts'
import { Mutex } from '../base/mutex.ts'
import { checkName } from '../base/names.ts'
import { orUndo } from '../base/undo.ts'
import { noQuality } from '../block/qos/quality.ts'
import { Batch } from '../../metadata/batch.ts'
import { hiOf, keyOf } from '../../metadata/key.ts'
import {
  decodeRecord,
  hostRecord,
  poolRecord,
  PRESENTATION_MIXED,
  PRESENTATION_READ_ONLY,
  PRESENTATION_SHARED,
  presentationIndex,
  presentationRecord,
  presentedVolume,
  type HostRecord,
  type PresentationRecord,
  type VolumeKind,
} from '../../metadata/records.ts'
import type { Lun } from '../lun/lun.ts'
import type { Pool } from '../pool/pool.ts'
import { qualityRecord } from './qualities.ts'
import type { PresentableVolumes, Volume } from './volumes.ts'

/** Volumes that one host reaches: what a client that lists them may cost. */
const PRESENTATIONS_MAX = 1024
const HOSTS_MAX = 4096

/** A volume that a host reaches. */
export class Presentation {
  /** Who is connected to it now, as messages name them. */
  readonly clients: string[] = []

  constructor(
    readonly host: Host,
    readonly kind: VolumeKind,
    /** Its number. */
    readonly volume: number,
    public record: PresentationRecord,
  ) {}

  get index(): number {
    return presentationIndex(this.kind, this.volume)
  }
  get isReadOnly(): boolean {
    return (this.record.flags & PRESENTATION_READ_ONLY) !== 0
  }
  get isShared(): boolean {
    return (this.record.flags & PRESENTATION_SHARED) !== 0
  }
  get isMixedAllowed(): boolean {
    return (this.record.flags & PRESENTATION_MIXED) !== 0
  }
}

export class Host {
  /** By index. */
  readonly presentations = new Map<number, Presentation>()

  constructor(
    readonly number: number,
    public record: HostRecord,
  ) {}

  get name(): string {
    return this.record.name
  }
}

export interface PresentOptions {
  readonly readOnly: boolean
  readonly shared: boolean
  readonly mixed: boolean
  readonly dryRun: boolean
}

export class Hosts {
  private readonly byName = new Map<string, Host>()
  /** Changes come one after the other. */
  private readonly changing = new Mutex()

  private constructor(
    private readonly pool: Pool,
    private readonly volumes: PresentableVolumes,
  ) {}

  static async load(pool: Pool, volumes: PresentableVolumes): Promise<Hosts> {
    const hosts = new Hosts(pool, volumes)
    const byNumber = new Map<number, Host>()
    for await (const { hi, value } of pool.metadata.range(hiOf('host'), 0, 0, hiOf('host', 0xffff_ffff))) {
      const host = new Host(hi - hiOf('host'), decodeRecord(hostRecord, value))
      byNumber.set(host.number, host)
      hosts.byName.set(host.name, host)
    }
    if (byNumber.size === 0) return hosts
    for await (const { hi, lo, value } of pool.metadata.range(hiOf('presentation'), 0, 0, hiOf('presentation', 0xffff_ffff))) {
      const host = byNumber.get(hi - hiOf('presentation'))
      const presented = presentedVolume(lo)
      if (host && presented) host.presentations.set(lo, new Presentation(host, presented.kind, presented.volume, decodeRecord(presentationRecord, value)))
    }
    return hosts
  }

  /** In order of number. */
  get all(): Host[] {
    return [...this.byName.values()]
  }

  named(name: string): Host | undefined {
    return this.byName.get(name)
  }

  /** @throws LunarError `ERR_HOST_NOT_FOUND` */
  find(name: string): Host {
    const host = this.byName.get(name)
    if (!host) throw new LunarError('ERR_HOST_NOT_FOUND', `Cannot find host ${JSON.stringify(name)} in pool "${this.pool.record.name}"`)
    return host
  }

  /** Volumes that a host reaches and that are there, with what they are called now, by name. */
  presentedTo(host: Host): { readonly presentation: Presentation; readonly volume: Volume }[] {
    return [...host.presentations.values()]
      .flatMap(presentation => {
        const volume = this.volumes.byNumber(presentation.kind, presentation.volume)
        return volume ? [{ presentation, volume }] : []
      })
      .sort((a, b) => (a.volume.name < b.volume.name ? -1 : 1))
  }

  /** Presentations of a volume, in order of hosts. */
  of(kind: VolumeKind, volume: number): Presentation[] {
    const index = presentationIndex(kind, volume)
    return this.all.flatMap(host => host.presentations.get(index) ?? [])
  }

  namesOf(kind: VolumeKind, volume: number): string[] {
    return this.byName.size === 0 ? [] : this.of(kind, volume).map(({ host }) => host.name)
  }

  // ---- what the rest of the pool asks

  /** @throws LunarError `ERR_PRESENTED` naming the hosts */
  checkNotPresented(volume: Volume, what: string): void {
    const names = this.namesOf(volume.kind, volume.number)
    if (names.length === 0) return
    throw new LunarError('ERR_PRESENTED', `Cannot ${what} ${volume.label}`, {
      why: `it is presented to ${names.join(', ')}`,
      fix: `lunar unpresent ${volume.name}`,
      blockers: names.map(name => `host ${name}`),
    })
  }

  /** @throws LunarError `ERR_BUSY` naming the clients */
  checkNoClients(presentations: readonly Presentation[], what: string): void {
    const clients = [...new Set(presentations.flatMap(presentation => presentation.clients))]
    if (clients.length === 0) return
    throw new LunarError('ERR_BUSY', `Cannot ${what}`, {
      why: `${clients.join(', ')} ${clients.length === 1 ? 'is' : 'are'} connected`,
      fix: 'disconnect there, or repeat it with --disconnect',
      blockers: clients,
    })
  }

  // ---- changing

  /** @throws LunarError `ERR_EXISTS`, `ERR_BAD_NAME` */
  add(name: string, dryRun: boolean): Promise<Host> {
    return this.changing.run(async () => {
      checkName('host', name)
      if (this.byName.has(name)) throw new LunarError('ERR_EXISTS', `Cannot add host "${name}"`, { why: 'there is a host of this name' })
      if (this.byName.size >= HOSTS_MAX)
        throw new LunarError('ERR_METADATA_FULL', `Cannot add host "${name}"`, { why: `a pool has at most ${HOSTS_MAX} hosts` })
      const number = Math.max(1, this.pool.record.nextHost)
      const host = new Host(number, { ...qualityRecord(noQuality), hostId: this.pool.options.uuids(), name, createdMs: this.pool.options.clock.wallMs() })
      if (dryRun) return host
      this.pool.record = { ...this.pool.record, nextHost: number + 1 }
      const batch = new Batch()
      batch.put(keyOf('pool'), poolRecord.encode(this.pool.record))
      batch.put(keyOf('host', number), hostRecord.encode(host.record))
      this.pool.event(batch, 'host.added', name, 'added')
      await this.pool.metadata.commit(batch, 'admin')
      this.byName.set(name, host)
      return host
    })
  }

  /**
   * Changes settings of a host.
   * @param change of its record as it is now, with a message for the event (`iops=500`); nothing is changed when it returns undefined
   * @throws LunarError `ERR_HOST_NOT_FOUND` and what `change` throws
   */
  set(name: string, change: (record: HostRecord) => { readonly record: HostRecord; readonly message: string } | undefined): Promise<Host> {
    return this.changing.run(async () => {
      const host = this.find(name)
      const changed = change(host.record)
      if (!changed) return host
      const batch = new Batch()
      batch.put(keyOf('host', host.number), hostRecord.encode(changed.record))
      this.pool.event(batch, 'host.changed', name, changed.message)
      await this.pool.metadata.commit(batch, 'admin')
      host.record = changed.record
      return host
    })
  }

  /** @throws LunarError `ERR_PRESENTED` while volumes are presented to it */
  remove(host: Host, dryRun: boolean): Promise<void> {
    return this.changing.run(async () => {
      const presented = this.presentedTo(host).map(({ volume }) => volume.name)
      if (presented.length > 0)
        throw new LunarError('ERR_PRESENTED', `Cannot remove host "${host.name}"`, {
          why: `${presented.join(', ')} ${presented.length === 1 ? 'is' : 'are'} presented to it`,
          fix: presented.map(name => `lunar unpresent ${name} --host ${host.name}`).join(', '),
          blockers: presented,
        })
      if (dryRun) return
      const batch = new Batch()
      for (const index of host.presentations.keys()) batch.delete(keyOf('presentation', host.number, index)) // of volumes that are gone
      batch.delete(keyOf('host', host.number))
      this.pool.event(batch, 'host.removed', host.name, 'removed')
      this.byName.delete(host.name)
      await orUndo(
        () => this.pool.metadata.commit(batch, 'admin'),
        () => this.byName.set(host.name, host),
      )
    })
  }

  /**
   * Lets a host reach a volume; presenting it again changes how.
   * @returns whether anything changed
   * @throws LunarError `ERR_PRESENTED` when another host writes it, `ERR_BUSY` when clients are connected that would be changed, `ERR_READ_ONLY`, `ERR_PROTECTED`
   */
  present(volume: Volume, host: Host, options: PresentOptions): Promise<{ readonly presentation: Presentation; readonly changed: boolean }> {
    return this.changing.run(async () => {
      this.volumes.checkPresentable(volume, options)
      this.checkWriters(volume, host, options)
      const before = host.presentations.get(presentationIndex(volume.kind, volume.number))
      if (!before && host.presentations.size >= PRESENTATIONS_MAX)
        throw new LunarError('ERR_METADATA_FULL', `Cannot present ${volume.label} to host "${host.name}"`, {
          why: `a host reaches at most ${PRESENTATIONS_MAX} volumes`,
        })
      const flags = (options.readOnly ? PRESENTATION_READ_ONLY : 0) | (options.shared ? PRESENTATION_SHARED : 0) | (options.mixed ? PRESENTATION_MIXED : 0)
      const record: PresentationRecord = { createdMs: before?.record.createdMs ?? this.pool.options.clock.wallMs(), flags }
      if (before?.record.flags === flags) return { presentation: before, changed: false }
      if (before) this.checkNoClients([before], `change how ${volume.label} is presented to host "${host.name}"`)
      const presentation = new Presentation(host, volume.kind, volume.number, record)
      if (options.dryRun) return { presentation, changed: true }
      const batch = new Batch()
      batch.put(keyOf('presentation', host.number, presentation.index), presentationRecord.encode(record))
      this.pool.event(batch, 'volume.presented', volume.name, `to ${host.name}${options.readOnly ? ', read-only' : ''}${options.shared ? ', shared' : ''}`)
      if (before) host.presentations.delete(before.index) // nobody connects meanwhile
      await orUndo(
        () => this.pool.metadata.commit(batch, 'admin'),
        () => before && host.presentations.set(before.index, before),
      )
      host.presentations.set(presentation.index, presentation)
      return { presentation, changed: true }
    })
  }

  /** One writer, unless all of them know of each other. */
  private checkWriters(volume: Volume, host: Host, { readOnly, shared }: PresentOptions): void {
    if (readOnly) return
    const others = this.of(volume.kind, volume.number).filter(other => other.host !== host && !other.isReadOnly && !(shared && other.isShared))
    if (others.length === 0) return
    const names = others.map(other => other.host.name)
    throw new LunarError('ERR_PRESENTED', `Cannot present ${volume.label} to host "${host.name}" for writing`, {
      why: `${names.join(', ')} may write it${shared ? ', and not as a shared volume' : ''}`,
      fix: shared
        ? `lunar present ${volume.name} --host ${names[0]!} --shared first`
        : `present it --read-only, or --shared to all of them when their file system is made for that`,
      blockers: names.map(name => `host ${name}`),
    })
  }

  /**
   * Takes a volume from some or all of its hosts.
   * @returns the names of those who had it
   * @throws LunarError `ERR_BUSY` naming clients that are connected
   */
  unpresent(volume: Volume, host: Host | undefined, dryRun: boolean): Promise<string[]> {
    return this.changing.run(async () => {
      const presentations = this.of(volume.kind, volume.number).filter(presentation => !host || presentation.host === host)
      this.checkNoClients(presentations, `unpresent ${volume.label}`)
      const names = presentations.map(presentation => presentation.host.name)
      if (dryRun || names.length === 0) return names
      const batch = new Batch()
      for (const { host: each, index } of presentations) batch.delete(keyOf('presentation', each.number, index))
      this.pool.event(batch, 'volume.unpresented', volume.name, `from ${names.join(', ')}`)
      for (const { host: each, index } of presentations) each.presentations.delete(index) // nobody connects meanwhile
      await orUndo(
        () => this.pool.metadata.commit(batch, 'admin'),
        () => {
          for (const presentation of presentations) presentation.host.presentations.set(presentation.index, presentation)
        },
      )
      return names
    })
  }

  /**
   * Two LUNs change places for their hosts, who keep reaching what has the name they know (features.md B16).
   * @param commit makes the batch durable together with the names
   */
  swap(a: Lun, b: Lun, commit: (fill: (batch: Batch) => void) => Promise<void>): Promise<void> {
    return this.changing.run(async () => {
      const moved = [...this.of('lun', a.number), ...this.of('lun', b.number)]
      this.checkNoClients(moved, `swap LUN "${a.name}" with LUN "${b.name}"`)
      const turned = moved.map(({ host, volume, record }) => new Presentation(host, 'lun', volume === a.number ? b.number : a.number, record))
      const replace = (from: readonly Presentation[], to: readonly Presentation[]): void => {
        for (const { host, index } of from) host.presentations.delete(index)
        for (const presentation of to) presentation.host.presentations.set(presentation.index, presentation)
      }
      replace(moved, []) // nobody connects meanwhile
      const put = (batch: Batch): void => {
        for (const { host, index } of moved) batch.delete(keyOf('presentation', host.number, index))
        for (const { host, index, record } of turned) batch.put(keyOf('presentation', host.number, index), presentationRecord.encode(record))
      }
      await orUndo(
        () => commit(put),
        () => replace([], moved),
      )
      replace([], turned)
    })
  }
}

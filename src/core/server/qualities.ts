/** Quality of service of a pool: the limits of its LUNs and hosts, the queue of its volumes, and who is held to them now. */
import type { Clock } from '../base/clock.ts'
import type { BlockDevice } from '../block/device.ts'
import { FairQueue } from '../block/qos/fair-queue.ts'
import { HeldBack, Limiter } from '../block/qos/limiter.ts'
import { priorities, type Quality } from '../block/qos/quality.ts'
import { QualityLayer, VolumeQuality, type QualityHost } from '../block/qos/quality-layer.ts'
import type { Lun } from '../lun/lun.ts'
import type { HostRecord, LunRecord } from '../../metadata/records.ts'
import type { HeldRequests } from './api.ts'
import type { Host } from './hosts.ts'

type QualityRecord = Pick<LunRecord & HostRecord, 'iops' | 'iopsBurst' | 'bps' | 'bpsBurst' | 'minIops' | 'priority'>

export const qualityOf = ({ iops, iopsBurst, bps, bpsBurst, minIops, priority }: QualityRecord): Quality => ({
  iops,
  iopsBurst,
  bps,
  bpsBurst,
  minIops,
  priority: priorities[priority] ?? 'normal', // of a newer version
})

export const qualityRecord = (quality: Quality): QualityRecord => ({ ...quality, priority: priorities.indexOf(quality.priority) })

/** What limits and the queue held back, for people. */
const heldRequests = (throttled: HeldBack, queued: HeldBack): HeldRequests => ({
  throttled: throttled.requests,
  throttledMs: Math.round(throttled.milliseconds),
  queued: queued.requests,
  queuedMs: Math.round(queued.milliseconds),
})

/** What is opened without settings of its own: a snapshot, a write-once device. */
interface Unlimited {
  readonly name: string
}

export class Qualities implements QualityHost {
  private readonly fair = new FairQueue()
  private readonly luns = new WeakMap<Lun, VolumeQuality>()
  private readonly others = new WeakMap<Unlimited, VolumeQuality>()
  private readonly hosts = new WeakMap<Host, Limiter>()
  private readonly open = new Set<QualityLayer>()
  queue: FairQueue | undefined

  constructor(
    readonly clock: Clock,
    private readonly all: () => readonly Lun[],
  ) {
    this.settleQueue()
  }

  /** One way in to a LUN, closed by closing it. @param host whose limits count, too */
  layer(lun: Lun, device: BlockDevice, host: Host | undefined): QualityLayer {
    return this.opened(device, this.ofLun(lun), host)
  }

  /** The same to what has no limits of its own: those of the host count. */
  plainLayer(volume: Unlimited, device: BlockDevice, host: Host | undefined): QualityLayer {
    let quality = this.others.get(volume)
    if (!quality) this.others.set(volume, (quality = new VolumeQuality(new Limiter(() => volume.name))))
    return this.opened(device, quality, host)
  }

  private opened(device: BlockDevice, volume: VolumeQuality, host: Host | undefined): QualityLayer {
    const layer = new QualityLayer(device, volume, host && this.ofHost(host), this)
    this.open.add(layer)
    return layer
  }

  /** What was held back by the limits of a LUN, and of its requests in the queue. */
  heldOfLun(lun: Lun): HeldRequests {
    const { limiter, queued } = this.ofLun(lun)
    return heldRequests(limiter.held, queued)
  }

  /** What was held back by the limits of a host. */
  heldOfHost(host: Host): HeldRequests {
    return heldRequests(this.ofHost(host).held, new HeldBack())
  }

  /** What was held back of whoever has a device open. */
  heldAt(device: BlockDevice): HeldRequests {
    const { throttled, queued } = QualityLayer.of(device) ?? { throttled: new HeldBack(), queued: new HeldBack() }
    return heldRequests(throttled, queued)
  }

  closed(layer: QualityLayer): void {
    this.open.delete(layer)
  }

  private ofLun(lun: Lun): VolumeQuality {
    let found = this.luns.get(lun)
    if (!found) {
      this.luns.set(lun, (found = new VolumeQuality(new Limiter(() => lun.label))))
      this.applyLun(lun, found)
    }
    return found
  }

  private ofHost(host: Host): Limiter {
    let found = this.hosts.get(host)
    if (!found) {
      this.hosts.set(host, (found = new Limiter(() => `host ${host.name}`)))
      found.set(qualityOf(host.record), this.clock.monotonicMs())
    }
    return found
  }

  /** The settings of a LUN are others now: for all who have it open, too. */
  lunChanged(lun: Lun): void {
    this.settleQueue()
    const found = this.luns.get(lun)
    if (found) this.applyLun(lun, found)
    for (const layer of this.open) layer.refresh(found?.limiter)
  }

  hostChanged(host: Host): void {
    const found = this.hosts.get(host)
    if (!found) return
    found.set(qualityOf(host.record), this.clock.monotonicMs())
    for (const layer of this.open) layer.refresh(found)
  }

  private applyLun(lun: Lun, { limiter, member }: VolumeQuality): void {
    const quality = qualityOf(lun.record)
    const now = this.clock.monotonicMs()
    limiter.set(quality, now)
    this.fair.set(member, quality.priority, quality.minIops, now)
  }

  /** There is a queue as long as some LUN has another place in it than the others. */
  private settleQueue(): void {
    const used = this.all().some(({ record }) => record.priority !== 0 || record.minIops > 0)
    if (!used && this.queue) this.fair.open(this.clock.monotonicMs())
    this.queue = used ? this.fair : undefined
  }
}

/** Quality of service of LUNs and hosts, and caches of LUNs: what the commands that set them would refuse. */
import { GIB, MIB } from '../core/base/units.ts'
import { LUN_STORE, LUN_WRITE_ONCE, type HostRecord, type LunRecord } from './records.ts'

type Quality = Pick<LunRecord & HostRecord, 'iops' | 'iopsBurst' | 'bps' | 'bpsBurst' | 'minIops' | 'priority'>
type Report = (code: string, object: string, message: string) => void

/** Numbers below this are priorities. */
const PRIORITIES = 3

export function checkQuality(luns: ReadonlyMap<number, Quality>, hosts: ReadonlyMap<number, Quality>, problem: Report): void {
  const check = (object: string, { iops, iopsBurst, bps, bpsBurst, minIops, priority }: Quality): void => {
    if ((iopsBurst > 0 && iops === 0) || (bpsBurst > 0 && bps === 0)) problem('quality.burst', object, 'it has a burst without the limit that it belongs to')
    if (iops > 0 && minIops > iops) problem('quality.minimum', object, `its minimum of ${minIops} operations a second is above its limit of ${iops}`)
    if (priority >= PRIORITIES) problem('quality.priority', object, `its priority ${priority} is not known`)
  }
  for (const [number, record] of luns) check(`LUN ${number}`, record)
  for (const [number, record] of hosts) {
    check(`host ${number}`, record)
    if (record.minIops > 0 || record.priority > 0) problem('quality.host', `host ${number}`, 'it has a place in the queue, which only volumes have')
  }
}

const CACHE_MAX = 4 * GIB

export function checkCaches(luns: ReadonlyMap<number, Pick<LunRecord, 'cacheBytes' | 'flags'>>, problem: Report): void {
  for (const [number, { cacheBytes, flags }] of luns) {
    if (cacheBytes > CACHE_MAX || cacheBytes % MIB !== 0) problem('cache.size', `LUN ${number}`, `its write-back cache has ${cacheBytes} bytes`)
    if (cacheBytes > 0 && (flags & (LUN_STORE | LUN_WRITE_ONCE)) !== 0)
      problem('cache.owner', `LUN ${number}`, 'it has a write-back cache, and is not for hosts')
  }
}

import { resolve } from 'node:path'
import type { DiskSpec, Params, Verb } from './api.ts'
import { absolutePlace } from './host-disk.ts'

/** `metadata` reads what is on disk, `live` asks what a running owner knows, `change` needs an owner, `owner` is answered by the owner itself. */
export type VerbKind = 'metadata' | 'live' | 'change' | 'owner'

export const verbKinds: Readonly<Record<Verb, VerbKind>> = {
  'pool.list': 'metadata',
  'pool.show': 'metadata',
  'pool.status': 'live',
  'pool.set': 'change',
  'pool.metrics': 'live',
  'pool.events': 'metadata',
  'pool.history': 'metadata',
  'pool.close': 'owner',
  'pool.destroy': 'owner',
  'disk.add': 'change',
  'disk.list': 'metadata',
  'disk.show': 'metadata',
  'disk.label': 'change',
  'disk.offline': 'change',
  'disk.online': 'change',
  'disk.remove': 'change',
  'disk.replace': 'change',
  'lun.create': 'change',
  'lun.list': 'metadata',
  'lun.show': 'live',
  'volume.show': 'metadata',
  'lun.map': 'metadata',
  'lun.resize': 'change',
  'lun.rename': 'change',
  'lun.set': 'change',
  'lun.delete': 'change',
  'lun.trim': 'change',
  'lun.zero': 'change',
  'lun.incomplete': 'change',
  'rstore.list': 'metadata',
  'rstore.show': 'metadata',
  'rstore.verify': 'change',
  'rstore.repair': 'change',
  'task.list': 'live',
  'task.show': 'live',
  'task.wait': 'live',
  'task.pause': 'change',
  'task.resume': 'change',
  'task.stop': 'change',
  'lun.swap': 'change',
  'lun.protect': 'change',
  'snap.configure': 'change',
  'snap.unconfigure': 'change',
  'snap.list': 'metadata',
  'snap.maps': 'live',
  'snap.config': 'metadata',
  'snap.activeConfig': 'metadata',
  'snap.status': 'live',
  'snap.enable': 'change',
  'snap.disable': 'change',
  'snap.start': 'change',
  'snap.stop': 'change',
  'snap.setDelay': 'change',
  'snap.create': 'change',
  'snap.delete': 'change',
  'snap.rotate': 'change',
  'schedule.create': 'change',
  'schedule.list': 'live',
  'schedule.show': 'live',
  'schedule.delete': 'change',
  'schedule.pause': 'change',
  'schedule.resume': 'change',
  'schedule.run': 'change',
  'snap.refresh': 'change',
  'snap.restore': 'change',
  'snap.clone': 'change',
  'snap.diff': 'live',
  'snap.snapshots': 'metadata',
  'snap.snapshot': 'metadata',
  'store.create': 'change',
  'store.list': 'metadata',
  'store.show': 'metadata',
  'store.resize': 'change',
  'store.compact': 'change',
  'store.delete': 'change',
  'wod.create': 'change',
  'wod.list': 'metadata',
  'wod.show': 'live',
  'wod.delete': 'change',
  'wod.reallocate': 'change',
  'host.add': 'change',
  'host.list': 'metadata',
  'host.show': 'live',
  'host.set': 'change',
  'host.remove': 'change',
  'volume.present': 'change',
  'volume.unpresent': 'change',
  'server.status': 'live',
  'server.stop': 'owner',
  'metadata.check': 'metadata',
  'metadata.dump': 'metadata',
  'lock.show': 'live',
}

export const isVerb = (name: string): name is Verb => Object.hasOwn(verbKinds, name)

/** Paths mean what they mean where the command was typed, not where the owner runs. */
export function withAbsolutePaths<V extends Verb>(verb: V, params: Params<V>): Params<V> {
  if (verb === 'disk.add') {
    const { disks } = params as Params<'disk.add'>
    return { ...params, disks: disks.map((spec): DiskSpec => ({ ...spec, path: absolutePlace(spec.path) })) }
  }
  if (verb === 'disk.replace') {
    const { with: spec } = params as Params<'disk.replace'>
    return { ...params, with: { ...spec, path: absolutePlace(spec.path) } }
  }
  if (verb === 'disk.online') {
    const { path } = params as Params<'disk.online'>
    if (path !== undefined) return { ...params, path: absolutePlace(path) }
  }
  if (verb === 'wod.create') {
    const { path } = params as Params<'wod.create'>
    if (path !== undefined) return { ...params, path: resolve(path) }
  }
  return params
}

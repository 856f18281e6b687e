/** The verbs of snapshots and their stores. */
import { PACE_ADAPTIVE } from '../../metadata/records.ts'
import type { Params, Result } from './api.ts'
import type { EngineParts } from './engine.ts'
import { rotationView } from './rotation-view.ts'

export const treeChanges = {
  'snap.create': async ({ trees }: EngineParts, params: Params<'snap.create'>): Promise<Result<'snap.create'>> => {
    const { snapshots: names, ...spec } = params
    const made = await trees.create({ names, ...spec })
    return made.map(({ name, size, isWritable, of, chunkBytes, store }) => ({ name, size, writable: isWritable, of: of ?? null, chunkBytes, store }))
  },

  'snap.delete': async (
    { trees, processes, hosts, volumes }: EngineParts,
    { snapshots: names, count, dryRun }: Params<'snap.delete'>,
  ): Promise<Result<'snap.delete'>> => {
    const found = names.map(name => ({ name, snapshot: trees.find(name) }))
    for (const { snapshot } of found) hosts.checkNotPresented(volumes.ofSnapshot(snapshot), 'delete')
    const snapshots = found.map(({ snapshot }) => snapshot)
    const freed = count === true ? await trees.freed(snapshots) : null
    const hidden = await trees.delete(snapshots, { dryRun: dryRun === true })
    if (!dryRun) await processes.look()
    return { deleted: found.map(({ name, snapshot }) => ({ name, hidden: hidden.includes(snapshot) })), freed, task: processes.numberOf('reclaim') }
  },

  'snap.rotate': async ({ rotator, processes }: EngineParts, params: Params<'snap.rotate'>): Promise<Result<'snap.rotate'>> => {
    const { volumes, keep, keepLast, olderThanMs, zone, dryRun, ...rest } = params
    const { rotations, refused } = await rotator.rotate(volumes, {
      ...rest,
      rules: { keep: keep ?? {}, last: keepLast ?? 1, lastIsRule: keepLast !== undefined, olderThanMs, zone: zone ?? 'UTC' },
      dryRun: dryRun === true,
    })
    const view = rotationView(rotations, refused)
    if (!dryRun && view.deleted > 0) await processes.look()
    return { ...view, task: processes.numberOf('reclaim') }
  },

  'snap.refresh': async ({ trees, processes }: EngineParts, { snapshot: name, dryRun }: Params<'snap.refresh'>): Promise<Result<'snap.refresh'>> => {
    await trees.refresh(trees.find(name), { dryRun: dryRun === true })
    if (!dryRun) await processes.look()
    return { name, task: processes.numberOf('reclaim') }
  },

  'snap.restore': async ({ trees, processes }: EngineParts, params: Params<'snap.restore'>): Promise<Result<'snap.restore'>> => {
    const { snapshots: names, delay, dryRun, ...spec } = params
    const restored = await trees.restores.restore({
      names,
      ...spec,
      dryRun: dryRun === true,
      ...(delay === undefined ? {} : { delay: delay === 'adaptive' ? PACE_ADAPTIVE : delay }),
    })
    if (!dryRun) {
      if (delay !== undefined) for (const { snapshot } of restored) processes.paceChanged(snapshot.tree, 'restore')
      await processes.look()
    }
    const taskOf = (tree: number): Promise<number | null> => (dryRun ? Promise.resolve(null) : processes.latestOf('restore', tree))
    return Promise.all(
      restored.map(async ({ snapshot, volume, before, size, was, changed }) => ({
        snapshot: snapshot.name,
        volume,
        before,
        size,
        was,
        changed,
        task: await taskOf(snapshot.tree.number),
      })),
    )
  },

  'snap.clone': async ({ trees, processes, wods }: EngineParts, params: Params<'snap.clone'>): Promise<Result<'snap.clone'>> => {
    const { source, name, delay, dryRun, ...spec } = params
    wods.checkNewName(name)
    const { lun, clone } = await trees.clones.clone({
      source,
      name,
      ...spec,
      dryRun: dryRun === true,
      ...(delay === undefined ? {} : { delay: delay === 'adaptive' ? PACE_ADAPTIVE : delay }),
    })
    if (clone) await processes.look()
    return { source, name: lun.name, size: lun.size, raid: lun.raid, task: clone ? await processes.latestOf('clone', clone.number) : null }
  },

  'snap.diff': async ({ trees }: EngineParts, { from, to }: Params<'snap.diff'>): Promise<Result<'snap.diff'>> => {
    const { extents, chunkBytes } = await trees.diff(from, to)
    return { from, to, chunkBytes, bytes: extents.reduce((sum, { length }) => sum + length, 0), extents }
  },

  'snap.snapshots': ({ treeViews, trees, luns }: EngineParts, { volume, hidden }: Params<'snap.snapshots'>): Result<'snap.snapshots'> => {
    if (volume?.includes('@')) trees.find(volume)
    else if (volume !== undefined) luns.find(volume)
    return treeViews.list(volume, hidden === true)
  },

  'snap.snapshot': ({ trees, treeViews }: EngineParts, { snapshot }: Params<'snap.snapshot'>): Promise<Result<'snap.snapshot'>> =>
    treeViews.detail(trees.find(snapshot)),

  'store.create': async ({ trees, treeViews, wods }: EngineParts, { name, raid, size, dryRun }: Params<'store.create'>): Promise<Result<'store.create'>> => {
    wods.checkNewName(name)
    const store = await trees.stores.create({ name, raid, dryRun: dryRun === true, ...(size === undefined ? {} : { size }) })
    return treeViews.store(store)
  },

  'store.list': ({ trees, treeViews }: EngineParts): Promise<Result<'store.list'>> => Promise.all(trees.stores.all.map(store => treeViews.store(store))),

  'store.show': ({ trees, treeViews }: EngineParts, { store }: Params<'store.show'>): Promise<Result<'store.show'>> =>
    treeViews.storeDetail(trees.stores.find(store)),

  'store.resize': async (
    { trees, treeViews, processes }: EngineParts,
    { store: name, size, dryRun }: Params<'store.resize'>,
  ): Promise<Result<'store.resize'>> => {
    const store = trees.stores.find(name)
    const was = store.size
    await trees.stores.resize(store, size, { dryRun: dryRun === true })
    if (!dryRun) await processes.look()
    return { ...(await treeViews.store(store)), size, was }
  },

  'store.compact': async (
    { trees, views, processes }: EngineParts,
    { store: name, dryRun }: Params<'store.compact'>,
    signal?: AbortSignal,
  ): Promise<Result<'store.compact'>> => {
    const store = trees.stores.find(name)
    if (dryRun) return { name, ...(await trees.stores.slots(store).compactible()) }
    const before = await views.used(store)
    const moved = await trees.compact(store, signal)
    await processes.look()
    return { name, moved, freed: Math.max(0, before - (await views.used(store))) }
  },

  'store.delete': async ({ trees, processes }: EngineParts, { store: name, dryRun }: Params<'store.delete'>): Promise<Result<'store.delete'>> => {
    await trees.stores.delete(trees.stores.find(name), { dryRun: dryRun === true })
    if (!dryRun) await processes.look()
    return { name, task: processes.numberOf('reclaim') }
  },
}

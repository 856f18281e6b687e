/** The verbs that change a pool. Each has its dry run on the same path, up to the first thing that would change. */
import { LunarError } from '../base/errors.ts'
import { parseSize } from '../base/units.ts'
import { orUndo } from '../base/undo.ts'
import { checkRange } from '../block/range.ts'
import { Batch } from '../../metadata/batch.ts'
import { keyOf } from '../../metadata/key.ts'
import { poolRecord, type PoolRecord } from '../../metadata/records.ts'
import { SLICE } from '../raid/geometry.ts'
import { checkUnused } from '../lun/luns.ts'
import { storeOf, sliceOf } from '../lun/slice-map.ts'
import type { PoolDisk } from '../pool/pool-disk.ts'
import { addDisks, rememberPaths } from './disk-additions.ts'
import { Trees } from '../snapshot/tree/trees.ts'
import type { Params, Result } from './api.ts'
import type { EngineParts } from './engine.ts'

const settingNames = ['comment', 'metadata-copies'] as const

function applySetting(record: PoolRecord, key: string, value: string): PoolRecord {
  switch (key) {
    case 'comment':
      if (Buffer.byteLength(value) > 120) throw new LunarError('ERR_USAGE', 'Cannot set "comment"', { why: 'it has more than 120 bytes' })
      return { ...record, comment: value }
    case 'metadata-copies': {
      const copies = parseSize(value)
      if (copies < 2 || copies > 4) throw new LunarError('ERR_USAGE', `Cannot set "metadata-copies" to ${value}`, { why: 'it is 2, 3 or 4' })
      return { ...record, metadataCopies: copies }
    }
    default:
      throw new LunarError('ERR_USAGE', `Cannot set "${key}"`, { why: `the settings of a pool are ${settingNames.join(', ')}` })
  }
}

/** LUNs that would lose data without this disk: a slice that cannot be read without it. */
async function dependents({ luns }: EngineParts, disk: PoolDisk): Promise<string[]> {
  const names: string[] = []
  for (const lun of luns.all) {
    for await (const { place } of lun.map.bound(0, lun.sliceCount)) {
      await lun.stores.table.load(storeOf(place))
      if (lun.stores.members.isNeeded(storeOf(place), sliceOf(place), disk.number)) {
        names.push(lun.name)
        break
      }
    }
  }
  return names
}

export const changes = {
  'pool.set': async ({ pool, views }: EngineParts, { settings, dryRun }: Params<'pool.set'>): Promise<Result<'pool.set'>> => {
    const old = pool.record
    let record = old
    for (const [key, value] of Object.entries(settings)) record = applySetting(record, key, value)
    const before = views.settings()
    if (!dryRun) {
      pool.record = record
      const batch = new Batch()
      batch.put(keyOf('pool'), poolRecord.encode(record))
      pool.event(
        batch,
        'pool.set',
        pool.record.name,
        Object.entries(settings)
          .map(([key, value]) => `${key}=${value}`)
          .join(' '),
      )
      await orUndo(
        () => pool.metadata.commit(batch, 'admin'),
        () => {
          pool.record = { ...pool.record, comment: old.comment, metadataCopies: old.metadataCopies }
        },
      )
    }
    const after = views.settings()
    return { settings: after, changed: dryRun ? Object.keys(settings) : after.filter((setting, i) => setting.value !== before[i]?.value).map(({ key }) => key) }
  },

  'disk.add': addDisks,

  'disk.label': async ({ pool, views }: EngineParts, { disk: name, domain, dryRun }: Params<'disk.label'>): Promise<Result<'disk.label'>> => {
    const disk = pool.findDisk(name)
    if (domain !== null && (Buffer.byteLength(domain) > 32 || !/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(domain))) {
      throw new LunarError('ERR_BAD_NAME', `Cannot use ${JSON.stringify(domain)} as a failure domain`, {
        why: 'it has 1 to 32 letters, digits, dots, underscores and hyphens',
      })
    }
    if (!dryRun) await pool.setDomain(disk, domain ?? '')
    return { ...views.diskSummary(disk), domain }
  },

  'disk.offline': async (parts: EngineParts, { disk: name, force, dryRun }: Params<'disk.offline'>): Promise<Result<'disk.offline'>> => {
    const { pool, views } = parts
    const disk = pool.findDisk(name)
    if (disk.state === 'missing' && disk.isOffline) return views.diskSummary(disk)
    const needed = await dependents(parts, disk)
    if (needed.length > 0 && !force) {
      throw new LunarError('ERR_REDUNDANCY', `Cannot take disk ${disk.number} offline`, {
        why: `LUN ${needed.join(', ')} ${needed.length === 1 ? 'has' : 'have'} data with no other current copy`,
        fix: `lunar disk offline ${disk.number} --force=redundancy`,
        blockers: needed,
      })
    }
    if (!dryRun) await pool.offline(disk)
    return views.diskSummary(disk)
  },

  'disk.online': async (parts: EngineParts, { disk: name, path, dryRun }: Params<'disk.online'>): Promise<Result<'disk.online'>> => {
    const { pool, views, options, processes } = parts
    const disk = pool.findDisk(name)
    if (disk.state === 'normal') return { ...views.diskSummary(disk), task: null }
    const found = disk.device && !disk.device.remote?.isLost ? undefined : await options.opener.find(disk.id, path)
    if (!dryRun) {
      await pool.online(disk, found)
      await rememberPaths(parts)
      await processes.look()
    }
    return { ...views.diskSummary(disk), task: processes.numberOf('resync') }
  },

  'lun.create': async (
    { luns, views, wods }: EngineParts,
    { name, size, raid, stripe, ranges, reserve, dryRun }: Params<'lun.create'>,
  ): Promise<Result<'lun.create'>> => {
    wods.checkNewName(name)
    const types = ranges ?? (raid === undefined ? undefined : [{ offset: 0, length: null, raid, ...(stripe === undefined ? {} : { stripe }) }])
    if (types === undefined || (ranges !== undefined && (raid !== undefined || stripe !== undefined)))
      throw new LunarError('ERR_USAGE', `Cannot create LUN "${name}"`, {
        why: 'it has either one redundancy type, with or without a stripe, or ranges of types',
        fix: 'give one of raid and ranges, and a stripe with raid',
      })
    const lun = await luns.create({ name, size, raid: types, reserve: reserve === true, dryRun: dryRun === true })
    return views.lunDetail(lun)
  },

  'lun.resize': async (
    { luns, views, processes, wodImages, trees }: EngineParts,
    { lun: name, size, force, dryRun }: Params<'lun.resize'>,
  ): Promise<Result<'lun.resize'>> => {
    const lun = luns.find(name)
    trees.checkResize(lun, size)
    const was = lun.size
    await wodImages.resize(lun, size, { force: force === true, dryRun: dryRun === true })
    if (!dryRun) await processes.look()
    return { ...(await views.lunDetail(lun)), size, was }
  },

  'lun.rename': async ({ luns, views, wods }: EngineParts, { lun: name, name: to, dryRun }: Params<'lun.rename'>): Promise<Result<'lun.rename'>> => {
    const lun = luns.find(name)
    wods.checkNewName(to)
    await luns.rename(lun, to, dryRun)
    return { ...(await views.lunDetail(lun)), name: to }
  },

  'lun.delete': async (
    { luns, views, processes, relationships, wodImages, trees, hosts, volumes, schedules }: EngineParts,
    { lun: name, dryRun }: Params<'lun.delete'>,
  ): Promise<Result<'lun.delete'>> => {
    const lun = luns.find(name)
    relationships.checkDelete(lun)
    wodImages.checkDelete(lun)
    trees.checkNone(lun, 'delete')
    luns.checkUnprotected(lun, 'delete')
    hosts.checkNotPresented(volumes.ofLun(lun), 'delete')
    schedules.checkNone(lun, 'delete')
    const freed = await views.used(lun)
    if (dryRun) return { name, freed, task: null }
    const clone = relationships.cloneOf(lun)
    if (clone) {
      checkUnused(lun, `delete LUN "${name}"`)
      await processes.stopClone(clone.number)
      await trees.clones.abandon(lun)
    }
    await luns.delete(lun)
    await processes.look()
    return { name, freed, task: processes.numberOf('reclaim') }
  },

  'lun.trim': async (
    { luns, processes, relationships, wodImages, trees }: EngineParts,
    { lun: name, offset, length, dryRun }: Params<'lun.trim'>,
  ): Promise<Result<'lun.trim'>> => {
    if (Trees.isName(name)) {
      const snapshot = trees.find(name)
      checkRange(`snapshot "${name}"`, snapshot.record.size, 512, offset, length)
      snapshot.checkWritable()
      return { trimmed: 0 }
    }
    const lun = luns.find(name)
    checkRange(`LUN "${name}"`, lun.size, lun.blockSize, offset, length)
    luns.checkUnprotected(lun, 'trim')
    const from = Math.ceil(offset / SLICE)
    const to = Math.floor((offset + length) / SLICE)
    // What a relationship may still need stays: a trim is a hint.
    if (lun.isReserved || to <= from || relationships.of(lun).length > 0 || wodImages.hasSource(lun) || trees.treeOf(lun)) return { trimmed: 0 }
    if (dryRun) {
      let bound = 0
      for await (const _ of lun.map.bound(from, to)) bound++
      return { trimmed: bound * SLICE }
    }
    const trimmed = (await lun.unbind(from, to)) * SLICE
    await processes.look()
    return { trimmed }
  },

  'lun.zero': async (
    { luns, processes, relationships, trees }: EngineParts,
    { lun: name, offset, length, dryRun }: Params<'lun.zero'>,
  ): Promise<Result<'lun.zero'>> => {
    if (Trees.isName(name)) {
      const snapshot = trees.find(name)
      checkRange(`snapshot "${name}"`, snapshot.record.size, 512, offset, length)
      snapshot.checkWritable()
      if (!dryRun) {
        await trees.volume(snapshot).zero(offset, length)
        await trees.volume(snapshot).flush()
      }
      return { zeroed: length }
    }
    const lun = luns.find(name)
    checkRange(`LUN "${name}"`, lun.size, lun.blockSize, offset, length)
    luns.checkUnprotected(lun, 'write to')
    relationships.checkOpen(lun, { mixed: false })
    if (!dryRun) {
      const volume = relationships.volume(lun.number)
      await volume.zero(offset, length)
      await volume.flush()
      await processes.look()
    }
    return { zeroed: length }
  },

  'lun.incomplete': async ({ luns, views }: EngineParts, { lun: name, incomplete }: Params<'lun.incomplete'>): Promise<Result<'lun.incomplete'>> => {
    const lun = luns.find(name)
    if (incomplete) luns.checkUnprotected(lun, 'import into')
    await luns.setIncomplete(lun, incomplete)
    return views.lunSummary(lun)
  },
}

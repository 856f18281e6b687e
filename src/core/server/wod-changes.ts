/** The verbs that change write-once devices. */
import { LunarError } from '../base/errors.ts'
import { checkRange } from '../block/range.ts'
import { safestOf } from '../lun/ranges.ts'
import { WOD_BLOCK_DEFAULT } from '../wod/wods.ts'
import type { Params, Result } from './api.ts'
import type { EngineParts } from './engine.ts'

export const wodChanges = {
  'wod.create': async ({ luns, wods, wodViews }: EngineParts, params: Params<'wod.create'>): Promise<Result<'wod.create'>> => {
    const volume = params.for === undefined ? undefined : luns.find(params.for)
    const size = params.size ?? volume?.size
    if (size === undefined || (volume !== undefined && params.size !== undefined)) {
      throw new LunarError('ERR_USAGE', `Cannot make write-once device "${params.name}"`, {
        why: 'it needs either a size or the LUN that it is for',
        fix: 'give one of --size and --for',
      })
    }
    const wod = await wods.create({
      name: params.name,
      on: params.on,
      size,
      blockBytes: params.blockBytes ?? WOD_BLOCK_DEFAULT,
      raid: params.raid ?? (volume ? safestOf(volume.types) : 'raid1'),
      dryRun: params.dryRun === true,
      ...(params.path === undefined ? {} : { path: params.path }),
    })
    return wodViews.detail(wod, params.dryRun === true)
  },

  'wod.delete': async ({ wods, processes, hosts, volumes }: EngineParts, { wod: name, dryRun }: Params<'wod.delete'>): Promise<Result<'wod.delete'>> => {
    const wod = wods.find(name)
    hosts.checkNotPresented(volumes.ofWod(wod), 'delete')
    const written = (await wods.countWritten(wod)) * wod.blockBytes
    await wods.delete(wod, { dryRun: dryRun === true })
    if (!dryRun) await processes.look()
    return { name, written, task: processes.numberOf('reclaim') }
  },

  'wod.reallocate': async ({ wods, processes, hosts }: EngineParts, params: Params<'wod.reallocate'>): Promise<Result<'wod.reallocate'>> => {
    const wod = wods.find(params.wod)
    const offset = params.offset ?? 0
    const length = params.length ?? wod.record.size - offset
    checkRange(`write-once device "${wod.name}"`, wod.record.size, wod.blockBytes, offset, length)
    wods.checkReallocate(wod)
    hosts.checkNoClients(hosts.of('wod', wod.number), `make blocks of write-once device "${wod.name}" unwritten`)
    const emptied = (await wods.countWritten(wod, offset, length)) * wod.blockBytes
    if (!params.dryRun) {
      await wods.reallocate(wod, { offset, length })
      await processes.look()
    }
    return { name: wod.name, offset, length, emptied }
  },
}

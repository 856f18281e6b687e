/** The verbs that change relationships. */
import { isoTime } from '../base/clock.ts'
import { LunarError } from '../base/errors.ts'
import { PACE_ADAPTIVE } from '../../metadata/records.ts'
import type { Lun } from '../lun/lun.ts'
import type { Disabled, Enabled, EnableOptions } from '../snapshot/relationships.ts'
import type { Params, Result } from './api.ts'
import type { EngineParts } from './engine.ts'
import { delayView } from './snap-views.ts'

export const enableOptions = (params: Params<'snap.enable'>): EnableOptions & { readonly dryRun: boolean } => ({
  fresh: params.fresh === true,
  forceLostPart: params.forceLostPart === true,
  forceMixed: params.forceMixed === true,
  dryRun: params.dryRun === true,
})

/** The instant, or now in a dry run of the first enabling. */
export const asOfView = ({ pool }: EngineParts, asOfMs: number): string => isoTime(asOfMs === 0 ? pool.options.clock.wallMs() : asOfMs)

export const enabledView = (parts: EngineParts, { relationship, changed, lost }: Enabled): Result<'snap.enable'>[number] => ({
  ...parts.snaps.view(relationship),
  asOf: asOfView(parts, relationship.record.asOfMs),
  lost: [...lost],
  changed,
})

export const disabledView = ({ snaps }: EngineParts, { relationship, ...rest }: Disabled): Result<'snap.disable'>[number] => ({
  ...snaps.view(relationship),
  ...rest,
})

/**
 * Starts a process; an update, unless it is refused or under way, after a snapshot of the volume that it overwrites, when one is wanted.
 * @param overwritten nothing by complete image
 * @returns whether it was not under way yet
 */
export async function startKeeping(
  { trees }: EngineParts,
  label: string,
  { keepBefore, dryRun }: Params<'snap.start'>,
  overwritten: Lun | undefined,
  start: (options: { readonly dryRun: boolean }) => Promise<boolean>,
): Promise<boolean> {
  if (keepBefore !== undefined) {
    if (!overwritten) throw new LunarError('ERR_USAGE', `Cannot keep a state before completing the image of ${label}`, { why: 'it overwrites nothing' })
    if (await start({ dryRun: true })) await trees.create({ names: [`${overwritten.name}@${keepBefore}`], readOnly: true, dryRun: dryRun === true })
  }
  return start({ dryRun: dryRun === true })
}

export const snapChanges = {
  'snap.configure': async ({ relationships, snaps, warnings }: EngineParts, params: Params<'snap.configure'>): Promise<Result<'snap.configure'>> => {
    const { policy, ...spec } = params
    const made = await relationships.configure({ ...spec, ...(policy === undefined ? {} : { onFull: policy }) })
    warnings.push(...made.warnings)
    return snaps.config(made.relationship)
  },

  'snap.unconfigure': async (
    { relationships, snaps, processes }: EngineParts,
    { relationship: name, dryRun }: Params<'snap.unconfigure'>,
  ): Promise<Result<'snap.unconfigure'>> => {
    const relationship = relationships.find(name)
    const view = snaps.view(relationship)
    await relationships.unconfigure(relationship, { dryRun: dryRun === true })
    if (!dryRun) await processes.look()
    return view
  },

  'snap.enable': async (parts: EngineParts, params: Params<'snap.enable'>): Promise<Result<'snap.enable'>> => {
    const { relationships, processes } = parts
    const found = params.relationships.map(name => relationships.find(name))
    const enabled = await relationships.enable(found, enableOptions(params))
    if (!params.dryRun) await processes.look()
    return enabled.map(one => enabledView(parts, one))
  },

  'snap.disable': async (parts: EngineParts, params: Params<'snap.disable'>): Promise<Result<'snap.disable'>> => {
    const { relationships, processes } = parts
    const found = params.relationships.map(name => relationships.find(name))
    if (!params.dryRun) {
      await relationships.disable(found, { dryRun: true }) // what is refused stops nothing
      for (const relationship of found) if (relationship.isCompleting && !relationship.update) await processes.stopOf(relationship, 'completeImage')
    }
    const disabled = await relationships.disable(found, { dryRun: params.dryRun === true })
    return disabled.map(one => disabledView(parts, one))
  },

  'snap.start': async (parts: EngineParts, params: Params<'snap.start'>): Promise<Result<'snap.start'>> => {
    const { relationships, snaps, processes } = parts
    const { relationship: name, kind, dryRun } = params
    const relationship = relationships.find(name)
    const overwritten = { completeImage: undefined, imageUpdate: relationships.image(relationship), sourceUpdate: relationships.source(relationship) }
    const changed = await startKeeping(parts, relationship.label, params, overwritten[kind], options =>
      kind === 'completeImage' ? relationships.startComplete(relationship, options) : relationships.startUpdate(relationship, kind, options),
    )
    if (dryRun) return { ...snaps.view(relationship), task: processes.numberOf(kind, relationship.number), changed }
    await processes.look()
    return { ...snaps.view(relationship), task: await processes.latestOf(kind, relationship.number), changed }
  },

  'snap.stop': async (
    { relationships, snaps, processes }: EngineParts,
    { relationship: name, kind, dryRun }: Params<'snap.stop'>,
  ): Promise<Result<'snap.stop'>> => {
    const relationship = relationships.find(name)
    const stopped = await (dryRun ? processes.wouldStop(relationship, kind) : processes.stopOf(relationship, kind))
    return { ...snaps.view(relationship), ...stopped }
  },

  'snap.setDelay': async (
    { relationships, snaps, processes }: EngineParts,
    { relationship: name, kind, delay, dryRun }: Params<'snap.setDelay'>,
  ): Promise<Result<'snap.setDelay'>> => {
    const relationship = relationships.find(name)
    const was = await relationships.setDelay(relationship, kind, delay === 'adaptive' ? PACE_ADAPTIVE : delay, { dryRun: dryRun === true })
    if (!dryRun) processes.paceChanged(relationship, kind)
    return { ...snaps.view(relationship), delayMs: delay, was: delayView(was) }
  },

  'task.pause': ({ processes }: EngineParts, { task, dryRun }: Params<'task.pause'>): Promise<Result<'task.pause'>> => processes.pause(task, dryRun === true),
  'task.resume': ({ processes }: EngineParts, { task, dryRun }: Params<'task.resume'>): Promise<Result<'task.resume'>> =>
    processes.resume(task, dryRun === true),
  'task.stop': ({ processes }: EngineParts, { task, dryRun }: Params<'task.stop'>): Promise<Result<'task.stop'>> => processes.stop(task, dryRun === true),

  'lun.swap': async ({ luns, views, hosts, schedules }: EngineParts, { lun: name, with: other, dryRun }: Params<'lun.swap'>): Promise<Result<'lun.swap'>> => {
    const a = luns.find(name)
    const b = luns.find(other)
    if (a === b) throw new LunarError('ERR_USAGE', `Cannot swap LUN "${name}" with itself`, { fix: 'name two LUNs' })
    if (dryRun) hosts.checkNoClients([...hosts.of('lun', a.number), ...hosts.of('lun', b.number)], `swap LUN "${name}" with LUN "${other}"`)
    else
      await hosts.swap(a, b, present =>
        schedules.swap(a, b, plan =>
          luns.swap(a, b, batch => {
            present(batch)
            plan(batch)
          }),
        ),
      )
    return { a: await views.lunSummary(a), b: await views.lunSummary(b) }
  },

  'lun.protect': async ({ luns, views }: EngineParts, { lun: name, protect, dryRun }: Params<'lun.protect'>): Promise<Result<'lun.protect'>> => {
    const lun = luns.find(name)
    const changed = lun.isProtected !== protect
    if (!dryRun) await luns.setProtected(lun, protect)
    return { ...(await views.lunSummary(lun)), changed }
  },
}

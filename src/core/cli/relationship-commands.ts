/** What the commands of relationships share: one base for each group of Table 1 (DataCore), so that a command says only which process it is for. */
import { LunarError } from '../base/errors.ts'
import { formatSize } from '../base/units.ts'
import type { Delay, Params, PoolService, ProcessName, RelationshipView, Result, TaskView } from '../server/api.ts'
import { LunarCommand } from './base-command.ts'
import type { DetailView } from './details.ts'
import { bytesFlag, dryRunFlag, failIfUnchangedFlag, manyArg, neededArg, poolFlag, progressFlag, waitFlag } from './flags.ts'
import { parseRelationships } from './references.ts'
import { usageError } from './translate.ts'
import { delayText, labelOf, processWords } from './views/relationship.ts'
import { watchTask } from './watch-task.ts'

/** Milliseconds: an hour. */
const DELAY_MAX_MS = 3_600_000
const WHAT = 'number, DcsSnap number or name of the relationship, or pool/it'
export const relationshipArg = () => neededArg(WHAT)
export const relationshipsArg = () => manyArg(`${WHAT}; several are done at one instant`)

/** One relationship and its pool. */
export function oneRelationship(text: string, poolFlagValue: string | undefined): { readonly pool: string | undefined; readonly relationship: string } {
  const { pool, names } = parseRelationships([text], poolFlagValue)
  return { pool, relationship: names[0]! }
}

/** `GetSnapConfig`, `GetSnapActiveConfig`, `GetSnapStatus`. */
export abstract class GetCommand<V extends 'snap.config' | 'snap.activeConfig' | 'snap.status'> extends LunarCommand {
  static override args = { relationship: relationshipArg() }
  static override flags = { ...poolFlag(), ...bytesFlag() }
  protected abstract readonly verb: V
  protected abstract readonly view: (data: Result<V>) => DetailView

  override async run(): Promise<Result<V>> {
    const { args, flags } = await this.parse(GetCommand)
    const { pool, relationship } = oneRelationship(args.relationship, flags.pool)
    return this.details(await this.ask(pool, 'view', this.verb, { relationship } as Params<V>), this.view, flags.bytes)
  }
}

type Started = Result<'snap.start'>

/** `StartCompleteImage`, `StartImageUpdate`, `StartSourceUpdate`. */
export abstract class StartCommand extends LunarCommand {
  static override args = { relationship: relationshipArg() }
  static override flags = { ...waitFlag(), ...progressFlag(), ...failIfUnchangedFlag(), ...poolFlag(), ...dryRunFlag() }
  static override description = 'Returns at once; with --wait it ends when the task does, with its outcome. Ctrl-C stops the waiting, not the task.'
  protected abstract readonly kind: ProcessName

  override async run(): Promise<Started & { outcome?: TaskView }> {
    const { args, flags } = await this.parse(StartCommand)
    const { pool, relationship } = oneRelationship(args.relationship, flags.pool)
    const what = processWords[this.kind]
    await using service = await this.open(pool, 'owner')
    const start = service.call('snap.start', { relationship, kind: this.kind, dryRun: flags['dry-run'] }, this.signal)
    const reply = await this.waitFor(`starting ${what}`, start)
    const label = labelOf(reply.data)
    if (!reply.data.changed) this.unchanged(`the ${what} of ${label} is under way already`, flags['fail-if-unchanged'])
    if (flags['dry-run']) return this.say(reply, () => `Would start the ${what} of ${label}`)
    const { task } = reply.data
    if (!flags.wait || task === null) {
      const began = reply.data.changed ? `Started the ${what} of ${label}` : `The ${what} of ${label} is under way`
      return this.say(reply, () => `${began}${task === null ? '' : `: lunar task wait ${task}`}`)
    }
    const ended = await watchTask(service, task, this.progress(flags.progress, `${what} of ${label}`), this.signal)
    requireDone(ended.data)
    const data = { ...reply.data, ...(await this.viewNow(service, relationship)), outcome: ended.data }
    return this.say({ ...ended, data }, () => `The ${what} of ${label} is done: ${formatSize(ended.data.done)} copied`)
  }

  /** The relationship after the wait. */
  private async viewNow(service: PoolService, relationship: string): Promise<RelationshipView> {
    const { number, name, source, image, state, process } = (await service.call('snap.config', { relationship }, this.signal)).data
    return { number, name, source, image, state, process }
  }
}

/** @throws LunarError `ERR_TASK_STATE` for a task that neither ended nor will by itself */
export function requireDone(task: TaskView): void {
  if (task.state === 'done') return
  throw new LunarError('ERR_TASK_STATE', `Cannot wait for task ${task.number} (${task.kind} of ${task.target})`, {
    why: `it is ${task.state}`,
    fix: task.state === 'paused' ? `lunar task resume ${task.number}` : `lunar task show ${task.number}`,
  })
}

/** `StopCompleteImage`, `StopImageUpdate`, `StopSourceUpdate`. */
export abstract class StopCommand extends LunarCommand {
  static override args = { relationship: relationshipArg() }
  static override flags = { ...failIfUnchangedFlag(), ...poolFlag(), ...dryRunFlag() }
  protected abstract readonly kind: ProcessName

  override async run(): Promise<Result<'snap.stop'>> {
    const { args, flags } = await this.parse(StopCommand)
    const { pool, relationship } = oneRelationship(args.relationship, flags.pool)
    const reply = await this.ask(pool, 'owner', 'snap.stop', { relationship, kind: this.kind, dryRun: flags['dry-run'] })
    const what = `the ${processWords[this.kind]} of ${labelOf(reply.data)}`
    if (!reply.data.changed) this.unchanged(`${what} is not under way`, flags['fail-if-unchanged'])
    return this.say(reply, ({ changed, done, left }) => {
      if (!changed) return `Nothing to stop: ${what} is not under way`
      return `${flags['dry-run'] ? 'Would stop' : 'Stopped'} ${what}: ${formatSize(done)} done, ${formatSize(left)} left`
    })
  }
}

/** `SetCompleteImageDelay`, `SetImageUpdateDelay`, `SetSourceUpdateDelay`. */
export abstract class DelayCommand extends LunarCommand {
  static override args = { delay: neededArg('milliseconds between chunks, 0 to 3600000, or adaptive'), relationship: relationshipArg() }
  static override flags = { ...failIfUnchangedFlag(), ...poolFlag(), ...dryRunFlag() }
  static override description = 'Counts at once, also for what runs now, and is kept. adaptive pauses only while the volumes are used.'
  protected abstract readonly kind: ProcessName

  override async run(): Promise<Result<'snap.setDelay'>> {
    const { args, flags } = await this.parse(DelayCommand)
    const delay = parseDelay(args.delay, this.name)
    const { pool, relationship } = oneRelationship(args.relationship, flags.pool)
    const reply = await this.ask(pool, 'owner', 'snap.setDelay', { relationship, kind: this.kind, delay, dryRun: flags['dry-run'] })
    const what = `the ${processWords[this.kind]} delay of ${labelOf(reply.data)}`
    if (reply.data.was === delay) this.unchanged(`${what} is ${delayText(delay)}`, flags['fail-if-unchanged'])
    return this.say(reply, ({ was }) => {
      if (was === delay) return `Nothing to set: ${what} is ${delayText(delay)}`
      return `${flags['dry-run'] ? 'Would set' : 'Set'} ${what} to ${delayText(delay)} (it was ${delayText(was)})`
    })
  }
}

/** @throws LunarError `ERR_USAGE` */
export function parseDelay(text: string, typed: string): Delay {
  if (text === 'adaptive') return text
  const ms = /^\d{1,7}$/.test(text) ? Number(text) : Infinity
  if (ms <= DELAY_MAX_MS) return ms
  throw usageError(
    `Cannot use ${JSON.stringify(text)} as a delay`,
    `it is a whole number of milliseconds up to ${DELAY_MAX_MS}, without a unit, or adaptive`,
    typed,
  )
}

/** `EnableSnap`, `EnableNewSnap`. */
export abstract class EnablingCommand extends LunarCommand {
  protected async enable(
    texts: readonly string[],
    flags: {
      readonly pool?: string | undefined
      readonly 'dry-run': boolean
      readonly 'fail-if-unchanged'?: boolean
      readonly force?: readonly string[] | undefined
    },
    fresh: boolean,
  ): Promise<Result<'snap.enable'>> {
    const { pool, names } = parseRelationships(texts, flags.pool)
    const forces = (what: string): boolean => flags.force?.includes(what) ?? false
    const reply = await this.ask(pool, 'owner', 'snap.enable', {
      relationships: names,
      fresh,
      forceLostPart: forces('lost-part'),
      forceMixed: forces('mixed'),
      dryRun: flags['dry-run'],
    })
    noteUnchanged(reply.data, 'is enabled already', flags['fail-if-unchanged'] ?? false, (why, isFailure) => {
      this.unchanged(why, isFailure)
    })
    return this.say(reply, done =>
      done
        .map(one => {
          if (!one.changed) return `${labelOf(one)} is enabled: "${one.image}" is "${one.source}" as of ${one.asOf}`
          const lost = one.lost.length === 0 ? '' : `; ${formatSize(one.lost.reduce((sum, { length }) => sum + length, 0))} of it lost, read from the source`
          return `${flags['dry-run'] ? 'Would enable' : 'Enabled'} ${labelOf(one)}: "${one.image}" is "${one.source}" as of ${one.asOf}${lost}`
        })
        .join('\n'),
    )
  }
}

/** Warns of each relationship that was so already; a failure is that all were. */
export function noteUnchanged(
  relationships: readonly (RelationshipView & { readonly changed: boolean })[],
  state: string,
  failIfUnchanged: boolean,
  unchanged: (why: string, isFailure: boolean) => void,
): void {
  const none = relationships.every(({ changed }) => !changed)
  for (const one of relationships) if (!one.changed) unchanged(`${labelOf(one)} ${state}`, failIfUnchanged && none)
}

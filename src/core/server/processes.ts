import { isoTime, isoTimeOrNone } from '../base/clock.ts'
import { LunarError } from '../base/errors.ts'
import { Batch } from '../../metadata/batch.ts'
import { hiOf, keyOf } from '../../metadata/key.ts'
import {
  decodeRecord,
  poolRecord,
  processKinds,
  processRecord,
  processStates,
  REASON_MAX,
  type ProcessKind,
  type ProcessRecord,
} from '../../metadata/records.ts'
import { fitting } from '../../metadata/struct.ts'
import { Evacuation } from '../lun/evacuation.ts'
import { Reclaim } from '../lun/reclaim.ts'
import type { Luns } from '../lun/luns.ts'
import { Relationship } from '../snapshot/relationship.ts'
import type { ProcessName, Relationships } from '../snapshot/relationships.ts'
import type { WodImage } from '../snapshot/wod-image.ts'
import type { WodImages } from '../snapshot/wod-images.ts'
import { Tidy } from '../snapshot/tidy.ts'
import type { Trees } from '../snapshot/tree/trees.ts'
import { Resync } from '../pool/resync.ts'
import type { Wods } from '../wod/wods.ts'
import type { Pool } from '../pool/pool.ts'
import { RunningProcess, type ProcessBody, type Progress } from '../process/runner.ts'
import type { TaskView } from './api.ts'

/** Ended processes that stay in the list. */
const ENDED_KEPT = 100

/** What a copying process is of. */
type Target = Relationship | WodImage

const updateOf = (target: Target): ProcessName | undefined => {
  if (target instanceof Relationship) return target.update
  return target.isUpdating ? 'sourceUpdate' : undefined
}

/** The background processes of an open pool: started when there is work for them, resumed after a crash, shown as tasks. */
export class Processes {
  private readonly running = new Map<number, RunningProcess>()
  private closing = false
  private endedOrphans = false
  private looking: Promise<void> | undefined
  /** The look after the one under way. */
  private again: Promise<void> | undefined
  private readonly idleWaiters: (() => void)[] = []

  constructor(
    private readonly pool: Pool,
    private readonly luns: Luns,
    private readonly relationships: Relationships,
    private readonly wods: Wods,
    private readonly wodImages: WodImages,
    private readonly trees: Trees,
  ) {}

  /**
   * Starts what is due and not running: when it resolves, what was due when it was called has been started. Several calls during a look share
   * one more, because that look may be past what has come up.
   */
  look(): Promise<void> {
    if (this.closing || this.pool.options.readOnly) return Promise.resolve()
    if (this.looking) {
      this.again ??= this.looking.then(
        () => this.lookAgain(),
        () => this.lookAgain(),
      )
      return this.again
    }
    this.looking = this.startDue().finally(() => {
      this.looking = undefined
      this.tellIdle()
    })
    return this.looking
  }

  private lookAgain(): Promise<void> {
    this.again = undefined
    const looked = this.look()
    this.tellIdle()
    return looked
  }

  private async startDue(): Promise<void> {
    await this.pool.events.flush()
    await this.startAll()
    // Once: what ends from now on says so itself.
    if (!this.endedOrphans) await this.endOrphans()
    this.endedOrphans = true
  }

  /** Processes whose work was over when a crash came, before their record said so: nobody starts them again. */
  private async endOrphans(): Promise<void> {
    const orphans: { number: number; record: ProcessRecord }[] = []
    for await (const { lo, value } of this.pool.metadata.range(hiOf('process'))) {
      const record = decodeRecord(processRecord, value)
      if (processStates[record.state] === 'running' && !this.running.has(lo)) orphans.push({ number: lo, record })
    }
    for (const { number, record } of orphans) await this.endAs(number, record, (await this.wasStopped(record)) ? 'stopped' : 'done')
  }

  /** Whether a process that nothing is due for any more was ended before its end. */
  private async wasStopped({ kind, target, targetName }: ProcessRecord): Promise<boolean> {
    const relationship = this.relationships.all.find(({ number }) => number === target)
    const image = this.wodImages.all.find(({ number }) => number === target)
    switch (processKinds[kind]) {
      case 'restore':
        return this.trees.all.some(tree => tree.number === target && tree.restoring !== undefined)
      case 'clone':
        return !this.luns.all.some(({ name, isIncomplete }) => name === targetName && !isIncomplete)
      case 'completeImage':
        return (relationship && !(await this.relationships.isWhole(relationship))) ?? (image && !(await this.wodImages.isWhole(image))) ?? false
      case 'imageUpdate':
      case 'sourceUpdate':
        return relationship?.isMixed === true || image?.wod.isMixed === true
      default:
        return false
    }
  }

  private async startAll(): Promise<void> {
    if (Resync.isDue(this.pool)) await this.ensure('resync', 0, this.resyncTarget(), () => new Resync(this.pool))
    if (Reclaim.isDue(this.pool, this.luns) || this.relationships.needsTidying || this.wods.needsTidying || this.trees.needsTidying)
      await this.ensure('reclaim', 0, this.pool.record.name, () => new Tidy(new Reclaim(this.pool, this.luns), [this.relationships, this.wods, this.trees]))
    for (const disk of Evacuation.due(this.pool))
      await this.ensure('evacuate', disk.number, `disk ${disk.number}`, () => new Evacuation(this.pool, this.luns, disk))
    for (const relationship of this.relationships.all) {
      for (const kind of ['completeImage', 'imageUpdate', 'sourceUpdate'] as const)
        await this.ensure(kind, relationship.number, relationship.label, () => this.relationships.process(relationship, kind))
    }
    for (const tree of this.trees.all) await this.ensure('restore', tree.number, this.trees.sourceNameOf(tree), () => this.trees.restores.process(tree))
    for (const clone of this.relationships.clones)
      await this.ensure('clone', clone.number, this.relationships.image(clone).name, () => this.trees.clones.process(clone))
    for (const image of this.wodImages.all) {
      for (const kind of ['completeImage', 'sourceUpdate'] as const)
        await this.ensure(kind, image.number, image.label, () => this.wodImages.process(image, kind))
    }
  }

  /** Starts a process unless it runs or was paused. */
  private async ensure(
    kind: ProcessKind,
    targetNumber: number,
    target: string,
    make: () => ProcessBody | undefined | Promise<ProcessBody | undefined>,
  ): Promise<void> {
    if (this.runningOf(kind, targetNumber)) return
    const body = await make()
    if (body) await this.start(kind, targetNumber, target, body)
  }

  private resyncTarget(): string {
    const merging = [...this.pool.disks.values()].filter(disk => disk.state === 'merging').map(disk => `disk ${disk.number}`)
    return merging.length > 0 ? merging.join(', ') : 'slices open at the last crash'
  }

  private runningOf(kind: ProcessKind, target: number): RunningProcess | undefined {
    return [...this.running.values()].find(process => process.kind === kind && process.targetNumber === target)
  }

  private async start(kind: ProcessKind, targetNumber: number, target: string, body: ProcessBody): Promise<void> {
    const resumed = await this.interrupted(kind, targetNumber)
    if (resumed && processStates[resumed.record.state] === 'paused') return
    const now = this.pool.options.clock.wallMs()
    const number = resumed?.number ?? this.pool.record.nextProcess
    if (!resumed) {
      this.pool.record = { ...this.pool.record, nextProcess: number + 1 }
      const batch = new Batch()
      batch.put(keyOf('pool'), poolRecord.encode(this.pool.record))
      batch.put(keyOf('process', 0, number), encode({ kind, target: targetNumber, targetName: target, startedMs: now }))
      if (number > ENDED_KEPT) batch.delete(keyOf('process', 0, number - ENDED_KEPT))
      await this.pool.metadata.commit(batch, 'data', true)
    }
    const process = new RunningProcess(
      number,
      kind,
      targetNumber,
      target,
      body,
      { save: progress => this.save(progress, targetNumber) },
      this.pool.options.clock,
      resumed?.record.startedMs ?? now,
    )
    this.running.set(number, process)
    void process
      .run(resumed?.record)
      .then(
        () => {
          this.running.delete(number)
          // What came up while it was ending is looked for again; a failure waits for the next change of the pool.
          if (process.progress().state === 'done') return this.look()
          return this.afterEnd(process)
        },
        () => undefined,
      )
      // Nobody waits for this look: that it failed is told with the next answers.
      .catch((error: unknown) => {
        this.pool.warnings.push(String(error))
      })
  }

  /** A process of a relationship that failed is over until somebody starts it again. */
  private async afterEnd(process: RunningProcess): Promise<void> {
    const { state, reason } = process.progress()
    if (process.kind === 'restore') return this.afterRestore(process)
    // A clone goes on when something changes: nothing else makes it a LUN of its own. So does a disk that is to leave.
    if (process.kind === 'clone' || process.kind === 'evacuate') return this.tellIdle()
    const target = this.targets.find(({ number }) => number === process.targetNumber)
    if (state === 'failed' && target && !this.closing) {
      try {
        if (process.kind === 'completeImage') await this.stopComplete(target)
        else if (process.kind !== 'resync' && process.kind !== 'reclaim') await this.stopUpdate(target, reason)
      } catch (error) {
        this.pool.warnings.push(String(error))
      }
    }
    this.tellIdle()
  }

  /** A restore that failed goes on when it is asked for again; the LUN reads right meanwhile. */
  private async afterRestore(process: RunningProcess): Promise<void> {
    const tree = this.trees.all.find(({ number }) => number === process.targetNumber)
    try {
      if (tree && process.progress().state === 'failed' && !this.closing) await this.trees.restores.stop(tree)
    } catch (error) {
      this.pool.warnings.push(String(error))
    }
    this.tellIdle()
  }

  /** What processes may be of: relationships with LUN images, and with images on write-once devices. */
  private get targets(): Target[] {
    return [...this.relationships.all, ...this.wodImages.all]
  }

  private stopComplete(target: Target): Promise<boolean> {
    return target instanceof Relationship ? this.relationships.stopComplete(target) : this.wodImages.stopComplete(target)
  }

  /** @returns bytes left */
  private stopUpdate(target: Target, reason: string): Promise<number> {
    return target instanceof Relationship ? this.relationships.stopUpdate(target, reason) : this.wodImages.stopUpdate(target, reason)
  }

  /** A process of this kind that a crash or the end of its owner interrupted, or that was paused. */
  private async interrupted(kind: ProcessKind, target: number): Promise<{ number: number; record: ProcessRecord } | undefined> {
    for await (const { lo, value } of this.pool.metadata.range(hiOf('process'))) {
      const record = decodeRecord(processRecord, value)
      const state = processStates[record.state]
      if (processKinds[record.kind] === kind && record.target === target && (state === 'running' || state === 'paused') && !this.running.has(lo))
        return { number: lo, record }
    }
    return undefined
  }

  // ---- pausing, resuming, stopping

  /** Ends the process after the step in hand; it stays so until it is resumed. @throws LunarError `ERR_TASK_NOT_FOUND`, `ERR_TASK_STATE` when it has ended */
  async pause(number: number, dryRun = false): Promise<TaskView> {
    if (dryRun) return this.expectState(number, 'pause', ['running', 'waiting', 'paused'])
    await this.running.get(number)?.interrupt('paused')
    return this.expectState(number, 'pause', ['paused'])
  }

  /** @throws LunarError `ERR_TASK_NOT_FOUND`, `ERR_TASK_STATE` when it has ended */
  async resume(number: number, dryRun = false): Promise<TaskView> {
    if (dryRun) return this.expectState(number, 'resume', ['running', 'waiting', 'paused'])
    const record = await this.recordOf(number)
    if (processStates[record.state] === 'paused') {
      const batch = new Batch()
      batch.put(keyOf('process', 0, number), processRecord.encode({ ...record, state: processStates.indexOf('running') }))
      await this.pool.metadata.commit(batch, 'data', true)
      await this.look()
    }
    return this.expectState(number, 'resume', ['running', 'waiting', 'done'])
  }

  /**
   * Ends a process of a relationship for good.
   * @throws LunarError `ERR_TASK_NOT_FOUND`, `ERR_TASK_STATE` when it has ended, and for the pool's own processes, which can only be paused
   */
  async stop(number: number, dryRun = false): Promise<TaskView> {
    const { kind, target } = await this.expectState(number, 'stop', ['running', 'waiting', 'paused'])
    if (kind === 'restore') {
      if (!dryRun) await this.stopRestore(number)
      return this.find(number)
    }
    if (kind === 'clone')
      throw new LunarError('ERR_TASK_STATE', `Cannot stop task ${number} (${kind} of ${target})`, {
        why: 'the LUN needs it to become one of its own',
        fix: `lunar task pause ${number}, or lunar lun delete ${target}`,
      })
    const of = this.targets.find(({ label }) => label === target)
    if (kind === 'resync' || kind === 'reclaim' || kind === 'evacuate' || !of) {
      throw new LunarError('ERR_TASK_STATE', `Cannot stop task ${number} (${kind} of ${target})`, {
        why: 'the pool needs it and would start it again',
        fix: `lunar task pause ${number}`,
      })
    }
    if (!dryRun) await this.stopOf(of, kind as ProcessName)
    return this.find(number)
  }

  /** Ends the copying of a clone that is to be deleted. */
  async stopClone(clone: number): Promise<void> {
    const running = this.runningOf('clone', clone)
    await running?.interrupt('stopped')
    const paused = running ? undefined : await this.interrupted('clone', clone)
    if (paused) await this.endAs(paused.number, paused.record, 'stopped')
  }

  private async stopRestore(number: number): Promise<void> {
    await this.running.get(number)?.interrupt('stopped')
    const record = await this.recordOf(number)
    const tree = this.trees.all.find(one => one.number === record.target)
    if (tree) await this.trees.restores.stop(tree)
    if (processStates[record.state] !== 'stopped') await this.endAs(number, record, 'stopped')
  }

  /** A process that nobody runs now is over. */
  private async endAs(number: number, record: ProcessRecord, state: 'stopped' | 'done'): Promise<void> {
    const batch = new Batch()
    batch.put(keyOf('process', 0, number), processRecord.encode({ ...record, state: processStates.indexOf(state), endedMs: this.pool.options.clock.wallMs() }))
    await this.pool.metadata.commit(batch, 'data', true)
  }

  /** What `stopOf` would say now. */
  async wouldStop(target: Target, kind: ProcessName): Promise<{ done: number; left: number; changed: boolean }> {
    await this.checkStop(target, kind)
    const progress = this.runningOf(kind, target.number)?.progress() ?? (await this.interrupted(kind, target.number))?.record
    return {
      done: progress?.done ?? 0,
      left: progress ? progress.total - progress.done : 0,
      changed: kind === 'completeImage' ? target.isCompleting : updateOf(target) === kind,
    }
  }

  private async checkStop(target: Target, kind: ProcessName): Promise<void> {
    if (target instanceof Relationship && target.update === kind) await this.relationships.checkStopUpdate(target)
  }

  /** Stops a process of a relationship. @returns bytes done, and left to do. @throws LunarError `ERR_HAS_SNAPSHOTS` that were taken during an update */
  async stopOf(target: Target, kind: ProcessName): Promise<{ done: number; left: number; changed: boolean }> {
    await this.checkStop(target, kind)
    const process = this.runningOf(kind, target.number)
    await process?.interrupt('stopped')
    const progress = process?.progress()
    const paused = process ? undefined : await this.interrupted(kind, target.number)
    let left = progress ? progress.total - progress.done : 0
    let changed = process !== undefined
    if (kind === 'completeImage') changed = (await this.stopComplete(target)) || changed
    else if (updateOf(target) === kind) {
      changed = true
      left = await this.stopUpdate(target, 'it was stopped')
    }
    if (paused) {
      await this.endAs(paused.number, paused.record, 'stopped')
      left = kind === 'completeImage' ? paused.record.total - paused.record.done : left
    }
    return { done: progress?.done ?? paused?.record.done ?? 0, left, changed }
  }

  /** The pace of a relationship's process was changed: it counts at once. */
  paceChanged(target: { readonly number: number }, kind: ProcessKind): void {
    this.runningOf(kind, target.number)?.wake()
  }

  /** Progress of what a relationship runs now. */
  of(target: Target): Progress | undefined {
    return [...this.running.values()]
      .find(process => process.targetNumber === target.number && process.kind in { completeImage: 1, imageUpdate: 1, sourceUpdate: 1 })
      ?.progress()
  }

  private async recordOf(number: number): Promise<ProcessRecord> {
    await this.find(number)
    const value = await this.pool.metadata.get(keyOf('process', 0, number))
    if (!value) throw new LunarError('ERR_TASK_NOT_FOUND', `Cannot find task ${number} in pool "${this.pool.record.name}"`)
    return decodeRecord(processRecord, value)
  }

  private async expectState(number: number, what: string, states: readonly string[]): Promise<TaskView> {
    const task = await this.find(number)
    if (!states.includes(task.state))
      throw new LunarError('ERR_TASK_STATE', `Cannot ${what} task ${number} (${task.kind} of ${task.target})`, { why: `it is ${task.state}` })
    return task
  }

  private async save(progress: Progress, target: number): Promise<void> {
    const batch = new Batch()
    batch.put(
      keyOf('process', 0, progress.number),
      encode({
        kind: progress.kind as ProcessKind,
        state: processStates.indexOf(progress.state),
        target,
        targetName: progress.target,
        startedMs: progress.startedMs,
        endedMs: progress.endedMs,
        done: progress.done,
        total: progress.total,
        reason: fitting(progress.reason, REASON_MAX),
      }),
    )
    await this.pool.metadata.commit(batch, 'data', true)
  }

  get hasWork(): boolean {
    return this.running.size > 0 || this.looking !== undefined || this.again !== undefined
  }

  /** The number of the process of a kind that runs now, for the result of the command that caused it. */
  numberOf(kind: ProcessKind, target = 0): number | null {
    return this.runningOf(kind, target)?.number ?? null
  }

  /** The same, also when it is paused or has ended meanwhile: the last one of this kind. */
  async latestOf(kind: ProcessKind, target: number): Promise<number | null> {
    let latest = this.numberOf(kind, target)
    if (latest !== null) return latest
    for await (const { lo, value } of this.pool.metadata.range(hiOf('process'))) {
      const record = decodeRecord(processRecord, value)
      if (processKinds[record.kind] === kind && record.target === target) latest = lo
    }
    return latest
  }

  settled(signal?: AbortSignal): Promise<void> {
    if (!this.hasWork || signal?.aborted) return Promise.resolve()
    return new Promise(resolve => {
      this.idleWaiters.push(resolve)
      signal?.addEventListener(
        'abort',
        () => {
          resolve()
        },
        { once: true },
      )
    })
  }

  private tellIdle(): void {
    if (this.hasWork) return
    for (const waiter of this.idleWaiters.splice(0)) waiter()
  }

  async list(): Promise<TaskView[]> {
    const tasks: TaskView[] = []
    for await (const { lo, value } of this.pool.metadata.range(hiOf('process'))) {
      const live = this.running.get(lo)?.progress()
      tasks.push(live ? taskView(live) : fromRecord(lo, decodeRecord(processRecord, value)))
    }
    return tasks
  }

  /** @throws LunarError `ERR_TASK_NOT_FOUND` */
  async find(number: number): Promise<TaskView> {
    const task = (await this.list()).find(candidate => candidate.number === number)
    if (!task) throw new LunarError('ERR_TASK_NOT_FOUND', `Cannot find task ${number} in pool "${this.pool.record.name}"`)
    return task
  }

  /** Resolves when the task has ended well. @throws LunarError `ERR_TASK_FAILED`, `ERR_TASK_STOPPED`, `ERR_INTERRUPTED` */
  async wait(number: number, signal?: AbortSignal): Promise<TaskView> {
    const process = this.running.get(number)
    if (process) {
      await Promise.race([process.settled, aborted(signal)])
      if (signal?.aborted) throw new LunarError('ERR_INTERRUPTED', `Stopped waiting for task ${number}`, { why: 'the task itself goes on' })
      process.outcome()
    }
    const task = await this.find(number)
    if (task.state === 'failed') throw new LunarError('ERR_TASK_FAILED', `Task ${number} (${task.kind} of ${task.target}) failed`, { why: task.reason ?? '' })
    if (task.state === 'stopped') throw new LunarError('ERR_TASK_STOPPED', `Task ${number} (${task.kind} of ${task.target}) was stopped`)
    return task
  }

  /** Ends what runs after the step in hand; the next owner resumes it. */
  async close(): Promise<void> {
    this.closing = true
    await this.looking
    await this.again
    await Promise.all([...this.running.values()].map(process => process.interrupt()))
  }
}

function aborted(signal: AbortSignal | undefined): Promise<void> {
  return new Promise(resolve => {
    if (signal?.aborted) resolve()
    signal?.addEventListener(
      'abort',
      () => {
        resolve()
      },
      { once: true },
    )
  })
}

function encode(fields: Omit<Partial<ProcessRecord>, 'kind'> & { kind: ProcessKind }): Uint8Array {
  return processRecord.encode({
    state: 0,
    target: 0,
    startedMs: 0,
    endedMs: 0,
    done: 0,
    total: 0,
    cursor: 0,
    delayMs: 0,
    targetName: '',
    reason: '',
    ...fields,
    kind: processKinds.indexOf(fields.kind),
  })
}

const percentOf = (done: number, total: number): number => (total === 0 ? 100 : Math.floor((done / total) * 100))

function taskView({ number, kind, target, state, done, total, rate, startedMs, endedMs, reason }: Progress): TaskView {
  return {
    number,
    kind,
    target,
    state,
    done,
    total,
    percent: state === 'done' ? 100 : percentOf(done, total),
    rate: Math.round(rate),
    eta: rate > 0 ? Math.ceil((total - done) / rate) : null,
    started: isoTime(startedMs),
    ended: isoTimeOrNone(endedMs),
    reason: reason === '' ? null : reason,
  }
}

function fromRecord(number: number, record: ProcessRecord): TaskView {
  const { targetName: target, done, total, startedMs, endedMs, reason } = record
  const state = processStates[record.state] ?? 'failed'
  // Nobody runs it now: the next owner resumes it.
  const now = state === 'running' ? 'waiting' : state
  return taskView({ number, kind: processKinds[record.kind] ?? 'unknown', target, state: now, done, total, rate: 0, startedMs, endedMs, reason })
}

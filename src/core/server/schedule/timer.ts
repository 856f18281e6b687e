/** Waits for what schedules are due at, and runs it: in a server, as long as that has the pool. */
import type { Clock } from '../../base/clock.ts'
import { decide, type Decision } from './plan.ts'
import { failureText, type Ran, type ScheduleRuns } from './runs.ts'
import type { Schedule } from './schedule.ts'
import type { Schedules } from './schedules.ts'

/** The wall clock may be set while somebody waits by one that never jumps: it is looked at this often. Milliseconds. */
const LOOK_EVERY = 60_000

export class ScheduleTimer {
  private readonly stopping = new AbortController()
  /** Ends the pause that is under way. */
  private pausing = new AbortController()
  private running: Promise<void> | undefined
  /** What could not be recorded is settled all the same, as long as this process lives and the record says what it said. */
  private readonly unrecorded = new Map<Schedule, { readonly recordMs: number; readonly settledMs: number }>()
  /** Those that cannot be read: said once. */
  private readonly unread = new Set<Schedule>()

  constructor(
    private readonly clock: Clock,
    private readonly schedules: Schedules,
    private readonly runs: ScheduleRuns,
    /** Called after a run that changed something. */
    private readonly ran: (schedule: Schedule, ran: Ran) => Promise<void>,
  ) {}

  /** Whether schedules are run. */
  get isRunning(): boolean {
    return this.running !== undefined && !this.stopping.signal.aborted
  }

  /** @param tell one line for whoever reads the log */
  start(tell: (line: string) => void): void {
    this.schedules.onChange = () => {
      this.pausing.abort()
    }
    this.running ??= this.watch(tell)
  }

  /** Resolves when nothing runs any more: what is under way ends first. */
  async close(): Promise<void> {
    this.stopping.abort()
    this.pausing.abort()
    await this.running
  }

  private async watch(tell: (line: string) => void): Promise<void> {
    while (!this.stopping.signal.aborted) {
      this.pausing = new AbortController()
      const { signal } = this.pausing
      let wait = Infinity
      for (const schedule of this.schedules.all) {
        if (this.stopping.signal.aborted) return
        if (!schedule.isPaused) wait = Math.min(wait, LOOK_EVERY, await this.look(schedule, tell))
      }
      if (wait === Infinity) await aborted(signal)
      else if (!this.stopping.signal.aborted) await this.clock.pause(wait, signal)
    }
  }

  /** Does what is due. @returns how long to wait for the next, milliseconds */
  private async look(schedule: Schedule, tell: (line: string) => void): Promise<number> {
    const decision = await this.decide(schedule, tell)
    if (decision.what === 'wait') return decision.untilMs === undefined ? Infinity : decision.untilMs - this.clock.wallMs()
    try {
      await this.act(schedule, decision, tell)
    } catch (error) {
      this.unrecorded.set(schedule, { recordMs: schedule.record.settledMs, settledMs: this.clock.wallMs() })
      tell(`schedule ${schedule.name}: ${failureText(error)}`)
    }
    return 0
  }

  private async decide(schedule: Schedule, tell: (line: string) => void): Promise<Decision> {
    try {
      const times = await this.schedules.times(schedule)
      const recordMs = schedule.record.settledMs
      const unrecorded = this.unrecorded.get(schedule)
      const settledMs = unrecorded?.recordMs === recordMs ? unrecorded.settledMs : recordMs
      return decide({ times, settledMs, catchesUp: schedule.catchesUp }, this.clock.wallMs())
    } catch (error) {
      if (!this.unread.has(schedule)) tell(`schedule ${schedule.name} cannot run: ${failureText(error)}`)
      this.unread.add(schedule)
      return { what: 'wait', untilMs: undefined }
    }
  }

  private async act(schedule: Schedule, decision: Exclude<Decision, { what: 'wait' }>, tell: (line: string) => void): Promise<void> {
    switch (decision.what) {
      case 'clock-back':
        return this.runs.settle(schedule, undefined, `the clock went back to ${time(this.clock.wallMs())}, and it goes on from there`)
      case 'give-up':
        return this.runs.settle(schedule, 'missed', `not run at ${time(decision.sinceMs)}, and not made up for`)
      default: {
        const ran = await this.runs.run(schedule, decision.what === 'run' ? {} : { note: `makes up for what was missed since ${time(decision.sinceMs)}` })
        if (ran.snapshots.length > 0) tell(`schedule ${schedule.name} took ${ran.snapshots.join(', ')}`)
        if (ran.refused) tell(`schedule ${schedule.name}: ${failureText(ran.refused)}`)
        await this.ran(schedule, ran)
      }
    }
  }
}

const time = (ms: number): string => new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z')

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    if (signal.aborted) resolve()
    signal.addEventListener(
      'abort',
      () => {
        resolve()
      },
      { once: true },
    )
  })
}

import type { Result } from '../server/api.ts'
import { LunarCommand } from './base-command.ts'
import { dryRunFlag, failIfUnchangedFlag, neededArg, poolFlag } from './flags.ts'
import { parseReference } from './references.ts'

/** `snap schedule pause`, `snap schedule resume`. */
export abstract class ScheduleCommand extends LunarCommand {
  static override args = { schedule: neededArg('the schedule') }
  static override flags = { ...failIfUnchangedFlag(), ...poolFlag(), ...dryRunFlag() }
  protected abstract readonly verb: 'schedule.pause' | 'schedule.resume'
  protected abstract readonly done: string

  override async run(): Promise<Result<'schedule.pause'>> {
    const { args, flags } = await this.parse(ScheduleCommand)
    const { pool, name: schedule } = parseReference(args.schedule, flags.pool, 'schedule')
    const reply = await this.ask(pool, 'owner', this.verb, { schedule, dryRun: flags['dry-run'] })
    if (!reply.data.changed) this.unchanged(`schedule "${schedule}" is ${this.done} already`, flags['fail-if-unchanged'])
    return this.say(reply, ({ name }) => `Schedule "${name}" ${flags['dry-run'] ? 'would be' : 'is'} ${this.done}`)
  }
}

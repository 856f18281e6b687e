import { LunarCommand } from '../../../core/cli/base-command.ts'
import { bytesFlag, neededArg, poolFlag } from '../../../core/cli/flags.ts'
import { parseReference } from '../../../core/cli/references.ts'
import { scheduleView } from '../../../core/cli/views/schedule.ts'
import type { ScheduleDetail } from '../../../core/server/api.ts'

export default class SnapScheduleShow extends LunarCommand {
  static override summary = 'Show one schedule: its rules, its next times, and what the last run did and why'
  static override examples = ['lunar snap schedule show tank/hourly', 'lunar snap schedule show hourly --pool tank --json']
  static override args = { schedule: neededArg('the schedule') }
  static override flags = { ...poolFlag(), ...bytesFlag() }

  override async run(): Promise<ScheduleDetail> {
    const { args, flags } = await this.parse(SnapScheduleShow)
    const { pool, name: schedule } = parseReference(args.schedule, flags.pool, 'schedule')
    return this.details(await this.ask(pool, 'view', 'schedule.show', { schedule }), scheduleView, flags.bytes)
  }
}

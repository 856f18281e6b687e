import { LunarCommand } from '../../../core/cli/base-command.ts'
import { listFlags, poolFlag } from '../../../core/cli/flags.ts'
import { scheduleColumns } from '../../../core/cli/views/schedule.ts'

export default class SnapScheduleList extends LunarCommand {
  static override summary = 'List the schedules of a pool: when each runs next, and how the last run ended'
  static override examples = ['lunar snap schedule list --pool tank', 'lunar snap schedule list --pool tank -H -o name,next,result']
  static override flags = { ...poolFlag(), ...listFlags() }

  override async run(): Promise<readonly unknown[]> {
    const { flags } = await this.parse(SnapScheduleList)
    const help = await this.columnsHelp(scheduleColumns, flags)
    return help ?? this.list(await this.ask(flags.pool, 'view', 'schedule.list', {}), scheduleColumns, flags, 'no schedules')
  }
}

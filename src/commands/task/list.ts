import { LunarCommand } from '../../core/cli/base-command.ts'
import { listFlags, poolFlag } from '../../core/cli/flags.ts'
import { taskColumns } from '../../core/cli/views/task.ts'

export default class TaskList extends LunarCommand {
  static override summary = 'List the background tasks of a pool; the last hundred that ended, too'
  static override examples = ['lunar task list --pool tank', 'lunar task list --pool tank -H -o task,state,percent']
  static override flags = { ...poolFlag(), ...listFlags() }

  override async run(): Promise<readonly unknown[]> {
    const { flags } = await this.parse(TaskList)
    return (await this.columnsHelp(taskColumns, flags)) ?? this.list(await this.ask(flags.pool, 'view', 'task.list', {}), taskColumns, flags, 'no tasks')
  }
}

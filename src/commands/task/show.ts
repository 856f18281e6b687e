import { LunarCommand } from '../../core/cli/base-command.ts'
import { bytesFlag, neededArg, poolFlag } from '../../core/cli/flags.ts'
import { parseNumbered } from '../../core/cli/references.ts'
import { taskView } from '../../core/cli/views/task.ts'
import type { TaskView } from '../../core/server/api.ts'

export default class TaskShow extends LunarCommand {
  static override summary = 'Show one background task'
  static override examples = ['lunar task show 1 --pool tank', 'lunar task show tank/1 --json']
  static override args = { task: neededArg('number of the task') }
  static override flags = { ...poolFlag(), ...bytesFlag() }

  override async run(): Promise<TaskView> {
    const { args, flags } = await this.parse(TaskShow)
    const { pool, number: task } = parseNumbered(args.task, flags.pool, 'task')
    return this.details(await this.ask(pool, 'view', 'task.show', { task }), taskView, flags.bytes)
  }
}

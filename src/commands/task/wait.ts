import { LunarCommand } from '../../core/cli/base-command.ts'
import { neededArg, poolFlag, progressFlag } from '../../core/cli/flags.ts'
import { parseNumbered } from '../../core/cli/references.ts'
import { watchTask } from '../../core/cli/watch-task.ts'
import type { TaskView } from '../../core/server/api.ts'

export default class TaskWait extends LunarCommand {
  static override summary = 'Wait until a background task has ended'
  static override description = 'Fails when the task failed or was stopped. Ctrl-C stops the waiting, not the task.'
  static override examples = ['lunar task wait 1 --pool tank', 'lunar task wait tank/1 --progress=json']
  static override args = { task: neededArg('number of the task') }
  static override flags = { ...poolFlag(), ...progressFlag() }

  override async run(): Promise<TaskView> {
    const { args, flags } = await this.parse(TaskWait)
    const { pool, number: task } = parseNumbered(args.task, flags.pool, 'task')
    await using service = await this.open(pool, 'owner')
    const reply = await watchTask(service, task, this.progress(flags.progress, `task ${task}`), this.signal)
    return this.say(reply, done => `Task ${done.number} (${done.kind} of ${done.target}) is ${done.state}`)
  }
}

import type { TaskView } from '../server/api.ts'
import { LunarCommand } from './base-command.ts'
import { dryRunFlag, neededArg, poolFlag } from './flags.ts'
import { parseNumbered } from './references.ts'

/** `task pause`, `task resume`, `task stop`. */
export abstract class TaskCommand extends LunarCommand {
  static override args = { task: neededArg('number of the task') }
  static override flags = { ...poolFlag(), ...dryRunFlag() }
  protected abstract readonly verb: 'task.pause' | 'task.resume' | 'task.stop'
  protected abstract readonly done: string

  override async run(): Promise<TaskView> {
    const { args, flags } = await this.parse(TaskCommand)
    const { pool, number: task } = parseNumbered(args.task, flags.pool, 'task')
    const reply = await this.ask(pool, 'owner', this.verb, { task, dryRun: flags['dry-run'] })
    return this.say(reply, ({ number, kind, target, state }) =>
      flags['dry-run'] ? `Task ${number} (${kind} of ${target}) would be ${this.done}` : `Task ${number} (${kind} of ${target}) is ${state}`,
    )
  }
}

import { TaskCommand } from '../../core/cli/task-command.ts'

export default class TaskStop extends TaskCommand {
  static override summary = 'Stop a task of a relationship for good; the work of the pool itself can only be paused'
  static override examples = ['lunar task stop tank/2 --dry-run', 'lunar task stop 2 --pool tank']
  protected readonly verb = 'task.stop'
  protected readonly done = 'stopped'
}

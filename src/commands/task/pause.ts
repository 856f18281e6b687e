import { TaskCommand } from '../../core/cli/task-command.ts'

export default class TaskPause extends TaskCommand {
  static override summary = 'Pause a background task after the step in hand; it stays so until it is resumed'
  static override examples = ['lunar task pause tank/2 --dry-run', 'lunar task pause 2 --pool tank']
  protected readonly verb = 'task.pause'
  protected readonly done = 'paused'
}

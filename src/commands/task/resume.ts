import { TaskCommand } from '../../core/cli/task-command.ts'

export default class TaskResume extends TaskCommand {
  static override summary = 'Let a paused background task go on'
  static override examples = ['lunar task resume tank/2 --dry-run', 'lunar task resume 2 --pool tank']
  protected readonly verb = 'task.resume'
  protected readonly done = 'resumed'
}

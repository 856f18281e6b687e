import { ScheduleCommand } from '../../../core/cli/schedule-command.ts'

export default class SnapScheduleResume extends ScheduleCommand {
  static override summary = 'Resume a paused schedule; what it missed meanwhile is not made up for'
  static override examples = ['lunar snap schedule resume tank/hourly --dry-run', 'lunar snap schedule resume hourly --pool tank']
  protected readonly verb = 'schedule.resume'
  protected readonly done = 'running'
}

import { ScheduleCommand } from '../../../core/cli/schedule-command.ts'

export default class SnapSchedulePause extends ScheduleCommand {
  static override summary = 'Pause a schedule: it does not run until it is resumed'
  static override examples = ['lunar snap schedule pause tank/hourly --dry-run', 'lunar snap schedule pause hourly --pool tank']
  protected readonly verb = 'schedule.pause'
  protected readonly done = 'paused'
}

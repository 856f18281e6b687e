import { DelayCommand } from '../core/cli/relationship-commands.ts'

export default class SetCompleteImageDelay extends DelayCommand {
  static override summary = 'Set the pause between the chunks of complete image'
  static override examples = ['lunar SetCompleteImageDelay 5 tank/1', 'lunar SetCompleteImageDelay adaptive nightly --pool tank']
  protected readonly kind = 'completeImage'
}

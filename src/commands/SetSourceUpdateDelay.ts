import { DelayCommand } from '../core/cli/relationship-commands.ts'

export default class SetSourceUpdateDelay extends DelayCommand {
  static override summary = 'Set the pause between the chunks of a source update'
  static override examples = ['lunar SetSourceUpdateDelay 5 tank/1', 'lunar SetSourceUpdateDelay adaptive nightly --pool tank']
  protected readonly kind = 'sourceUpdate'
}

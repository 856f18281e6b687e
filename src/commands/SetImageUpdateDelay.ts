import { DelayCommand } from '../core/cli/relationship-commands.ts'

export default class SetImageUpdateDelay extends DelayCommand {
  static override summary = 'Set the pause between the chunks of an image update'
  static override examples = ['lunar SetImageUpdateDelay 5 tank/1', 'lunar SetImageUpdateDelay adaptive nightly --pool tank']
  protected readonly kind = 'imageUpdate'
}

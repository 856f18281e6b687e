import { StartCommand } from '../core/cli/relationship-commands.ts'

export default class StartSourceUpdate extends StartCommand {
  static override summary = 'Make a source what its image is, by copying back what differs'
  static override examples = ['lunar StartSourceUpdate 1 --pool tank --wait', 'lunar StartSourceUpdate tank/DcsSnap1 --dry-run']
  protected readonly kind = 'sourceUpdate'
}

import { StartUpdateCommand } from '../core/cli/relationship-commands.ts'

export default class StartSourceUpdate extends StartUpdateCommand {
  static override summary = 'Make a source what its image is, by copying back what differs'
  static override examples = ['lunar StartSourceUpdate 1 --pool tank --wait', 'lunar StartSourceUpdate tank/DcsSnap1 --keep-before oops --dry-run']
  protected readonly kind = 'sourceUpdate'
}

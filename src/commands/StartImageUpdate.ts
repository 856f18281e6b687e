import { StartUpdateCommand } from '../core/cli/relationship-commands.ts'

export default class StartImageUpdate extends StartUpdateCommand {
  static override summary = 'Make an image what its source is now, by copying what differs'
  static override examples = ['lunar StartImageUpdate 1 --pool tank --wait', 'lunar StartImageUpdate tank/DcsSnap1 --dry-run']
  protected readonly kind = 'imageUpdate'
}

import { StartCommand } from '../core/cli/relationship-commands.ts'

export default class StartCompleteImage extends StartCommand {
  static override summary = 'Copy every chunk that an image lacks, so that it becomes a volume of its own'
  static override examples = ['lunar StartCompleteImage 1 --pool tank --wait', 'lunar StartCompleteImage tank/DcsSnap1 --dry-run']
  protected readonly kind = 'completeImage'
}

import { StopCommand } from '../core/cli/relationship-commands.ts'

export default class StopCompleteImage extends StopCommand {
  static override summary = 'Stop completing an image; what is copied stays, and starting again goes on from there'
  static override examples = ['lunar StopCompleteImage 1 --pool tank', 'lunar StopCompleteImage tank/nightly --json']
  protected readonly kind = 'completeImage'
}

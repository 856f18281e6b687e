import { StopCommand } from '../core/cli/relationship-commands.ts'

export default class StopImageUpdate extends StopCommand {
  static override summary = 'Stop an image update; the image is then of two instants (mixed)'
  static override examples = ['lunar StopImageUpdate 1 --pool tank', 'lunar StopImageUpdate tank/nightly --json']
  protected readonly kind = 'imageUpdate'
}

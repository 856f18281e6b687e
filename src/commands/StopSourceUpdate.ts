import { StopCommand } from '../core/cli/relationship-commands.ts'

export default class StopSourceUpdate extends StopCommand {
  static override summary = 'Stop a source update; the source is then of two instants (mixed)'
  static override examples = ['lunar StopSourceUpdate 1 --pool tank', 'lunar StopSourceUpdate tank/nightly --json']
  protected readonly kind = 'sourceUpdate'
}

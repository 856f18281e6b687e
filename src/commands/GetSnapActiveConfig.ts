import { GetCommand } from '../core/cli/relationship-commands.ts'
import { activeConfigView } from '../core/cli/views/relationship.ts'

export default class GetSnapActiveConfig extends GetCommand<'snap.activeConfig'> {
  static override summary = 'Show the settings in use of a relationship; refused when it is disabled'
  static override examples = ['lunar GetSnapActiveConfig 1 --pool tank', 'lunar GetSnapActiveConfig tank/DcsSnap1 --json']
  protected readonly verb = 'snap.activeConfig'
  protected readonly view = activeConfigView
}

import { GetCommand } from '../core/cli/relationship-commands.ts'
import { configView } from '../core/cli/views/relationship.ts'

export default class GetSnapConfig extends GetCommand<'snap.config'> {
  static override summary = 'Show the stored settings of a relationship'
  static override examples = ['lunar GetSnapConfig 1 --pool tank', 'lunar GetSnapConfig tank/DcsSnap1 --json']
  protected readonly verb = 'snap.config'
  protected readonly view = configView
}

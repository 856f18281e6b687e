import { GetCommand } from '../core/cli/relationship-commands.ts'
import { statusView } from '../core/cli/views/relationship.ts'

export default class GetSnapStatus extends GetCommand<'snap.status'> {
  static override summary = 'Show the state of a relationship: percent different and complete, what runs'
  static override examples = ['lunar GetSnapStatus 1 --pool tank', 'lunar GetSnapStatus tank/DcsSnap1 --json']
  protected readonly verb = 'snap.status'
  protected readonly view = statusView
}

import { LunarCommand } from '../../core/cli/base-command.ts'
import { bytesFlag, poolFlag } from '../../core/cli/flags.ts'
import { oneRelationship, relationshipArg } from '../../core/cli/relationship-commands.ts'
import { relationshipView, type RelationshipDetail } from '../../core/cli/views/relationship.ts'

export default class SnapShow extends LunarCommand {
  static override summary = 'Show one relationship: state, instant, maps, settings, what runs'
  static override examples = ['lunar snap show 1 --pool tank', 'lunar snap show tank/nightly --json']
  static override args = { relationship: relationshipArg() }
  static override flags = { ...poolFlag(), ...bytesFlag() }

  override async run(): Promise<RelationshipDetail> {
    const { args, flags } = await this.parse(SnapShow)
    const { pool, relationship } = oneRelationship(args.relationship, flags.pool)
    await using service = await this.open(pool, 'view')
    const config = await service.call('snap.config', { relationship }, this.signal)
    const status = await service.call('snap.status', { relationship }, this.signal)
    return this.details({ ...status, data: { ...config.data, ...status.data } }, relationshipView, flags.bytes)
  }
}

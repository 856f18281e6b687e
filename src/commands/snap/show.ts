import { LunarCommand } from '../../core/cli/base-command.ts'
import { bytesFlag, neededArg, poolFlag } from '../../core/cli/flags.ts'
import { oneRelationship } from '../../core/cli/relationship-commands.ts'
import { relationshipView, type RelationshipDetail } from '../../core/cli/views/relationship.ts'
import { snapshotView } from '../../core/cli/views/snapshot.ts'
import type { SnapshotDetail } from '../../core/server/api.ts'

export default class SnapShow extends LunarCommand {
  static override summary = 'Show one snapshot or relationship: state, instant, space, settings, what runs'
  static override examples = ['lunar snap show 1 --pool tank', 'lunar snap show tank/nightly --json', 'lunar snap show tank/web@frozen']
  static override args = { relationship: neededArg('VOLUME@NAME; or number, DcsSnap number or name of a relationship; or pool/it') }
  static override flags = { ...poolFlag(), ...bytesFlag() }

  override async run(): Promise<RelationshipDetail | SnapshotDetail> {
    const { args, flags } = await this.parse(SnapShow)
    const { pool, relationship } = oneRelationship(args.relationship, flags.pool)
    if (relationship.includes('@')) return this.details(await this.ask(pool, 'view', 'snap.snapshot', { snapshot: relationship }), snapshotView, flags.bytes)
    await using service = await this.open(pool, 'view')
    const config = await service.call('snap.config', { relationship }, this.signal)
    const status = await service.call('snap.status', { relationship }, this.signal)
    return this.details({ ...status, data: { ...config.data, ...status.data } }, relationshipView, flags.bytes)
  }
}

import { LunarCommand } from '../../core/cli/base-command.ts'
import { listFlags, poolFlag } from '../../core/cli/flags.ts'
import { snapColumns, snapshotRow } from '../../core/cli/views/snapshot.ts'

export default class SnapList extends LunarCommand {
  static override summary = 'List the snapshots and the relationships of a pool'
  static override examples = ['lunar snap list --pool tank', 'lunar snap list --pool tank -H -o image,state,as-of --sort -as-of']
  static override flags = { ...poolFlag(), ...listFlags() }

  override async run(): Promise<readonly unknown[]> {
    const { flags } = await this.parse(SnapList)
    const help = await this.columnsHelp(snapColumns, flags)
    if (help) return help
    await using service = await this.open(flags.pool, 'view')
    const snapshots = await service.call('snap.snapshots', {}, this.signal)
    const relationships = await service.call('snap.list', {}, this.signal)
    const rows = [...relationships.data, ...snapshots.data.map(snapshotRow)]
    return await this.list({ ...relationships, data: rows }, snapColumns, flags, 'no snapshots and no relationships')
  }
}

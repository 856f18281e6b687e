import * as Flags from '@oclif/core/flags'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { listFlags, optionalArg, poolFlag } from '../../core/cli/flags.ts'
import { parseReference } from '../../core/cli/references.ts'
import { treeColumns, treeRows, type TreeRow } from '../../core/cli/views/snapshot.ts'

export default class SnapTree extends LunarCommand {
  static override summary = 'Show snapshots below what they are made of'
  static override examples = ['lunar snap tree tank/web', 'lunar snap tree --pool tank --all']
  static override args = { volume: optionalArg('a LUN or a snapshot; all LUNs when left out') }
  static override flags = {
    all: Flags.boolean({ description: 'with those that are deleted, and kept for what rests on them', default: false }),
    ...poolFlag(),
    ...listFlags(),
  }

  override async run(): Promise<readonly unknown[]> {
    const { args, flags } = await this.parse(SnapTree)
    const help = await this.columnsHelp(treeColumns, flags)
    if (help) return help
    const { pool, name: volume } = args.volume === undefined ? { pool: flags.pool, name: undefined } : parseReference(args.volume, flags.pool, 'volume')
    const reply = await this.ask(pool, 'view', 'snap.snapshots', { hidden: flags.all, ...(volume === undefined ? {} : { volume }) })
    const names = new Set(reply.data.map(({ name }) => name))
    const roots = volume === undefined ? [...new Set(reply.data.map(({ source }) => source))].filter(source => !names.has(source)) : [volume]
    const rows: TreeRow[] = treeRows(reply.data, roots)
    return this.list({ ...reply, data: rows }, treeColumns, flags, 'no snapshots')
  }
}

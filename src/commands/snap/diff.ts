import { LunarCommand } from '../../core/cli/base-command.ts'
import { listFlags, neededArg, poolFlag } from '../../core/cli/flags.ts'
import { parseReferences } from '../../core/cli/references.ts'
import { diffColumns } from '../../core/cli/views/snapshot.ts'
import type { Result } from '../../core/server/api.ts'

export default class SnapDiff extends LunarCommand {
  static override summary = 'List where two snapshots of a volume, or one and the volume, may differ'
  static override description = 'From the maps alone, in whole chunks: nothing is read. What is not listed is the same.'
  static override examples = ['lunar snap diff tank/web@frozen web@old', 'lunar snap diff web@frozen web --pool tank -H --bytes']
  static override args = { from: neededArg('a snapshot, or its volume'), to: neededArg('another snapshot of the volume, or the volume') }
  static override flags = { ...poolFlag(), ...listFlags() }

  override async run(): Promise<readonly unknown[] | Result<'snap.diff'>> {
    const { args, flags } = await this.parse(SnapDiff)
    const help = await this.columnsHelp(diffColumns, flags)
    if (help) return help
    const { pool, names } = parseReferences([args.from, args.to], flags.pool, 'volume')
    const reply = await this.ask(pool, 'view', 'snap.diff', { from: names[0]!, to: names[1]! })
    await this.list({ ...reply, data: reply.data.extents }, diffColumns, flags, 'no differences')
    return reply.data
  }
}

import * as Flags from '@oclif/core/flags'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { listFlags, neededArg, poolFlag } from '../../core/cli/flags.ts'
import { parseReference } from '../../core/cli/references.ts'
import { mapColumns } from '../../core/cli/views/lun.ts'

export default class LunMap extends LunarCommand {
  static override summary = 'Show where the ranges of a LUN lie, and which are lost'
  static override examples = ['lunar lun map tank/db', 'lunar lun map --lost tank/web', 'lunar lun map tank/db -H --bytes -o offset,length,state']
  static override args = { lun: neededArg('the LUN') }
  static override flags = { lost: Flags.boolean({ description: 'only ranges that cannot be read', default: false }), ...poolFlag(), ...listFlags() }

  override async run(): Promise<readonly unknown[]> {
    const { args, flags } = await this.parse(LunMap)
    const help = await this.columnsHelp(mapColumns, flags)
    if (help) return help
    const { pool, name: lun } = parseReference(args.lun, flags.pool, 'lun')
    return this.list(await this.ask(pool, 'view', 'lun.map', { lun, lost: flags.lost }), mapColumns, flags, flags.lost ? 'nothing is lost' : 'no ranges')
  }
}

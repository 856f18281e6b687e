import { LunarCommand } from '../../core/cli/base-command.ts'
import { listFlags, poolFlag } from '../../core/cli/flags.ts'
import { diskColumns } from '../../core/cli/views/disk.ts'

export default class DiskList extends LunarCommand {
  static override summary = 'List the disks of a pool'
  static override examples = [
    'lunar disk list --pool tank',
    'lunar disk list --pool tank -H --bytes -o disk,state,free',
    'lunar disk list --pool tank -o +witness,-errors --sort -free',
  ]
  static override flags = { ...poolFlag(), ...listFlags() }

  override async run(): Promise<readonly unknown[]> {
    const { flags } = await this.parse(DiskList)
    return (await this.columnsHelp(diskColumns, flags)) ?? this.list(await this.ask(flags.pool, 'view', 'disk.list', {}), diskColumns, flags, 'no disks')
  }
}

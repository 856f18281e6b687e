import { LunarCommand } from '../../core/cli/base-command.ts'
import { bytesFlag, neededArg, poolFlag } from '../../core/cli/flags.ts'
import { diskReference } from '../../core/cli/references.ts'
import { diskView } from '../../core/cli/views/disk.ts'
import type { DiskDetail } from '../../core/server/api.ts'

export default class DiskShow extends LunarCommand {
  static override summary = 'Show one disk: state, segments, layout'
  static override examples = ['lunar disk show 1 --pool tank', 'lunar disk show d2.img --pool tank --json']
  static override args = { disk: neededArg('number, path or id of the disk') }
  static override flags = { ...poolFlag(), ...bytesFlag() }

  override async run(): Promise<DiskDetail> {
    const { args, flags } = await this.parse(DiskShow)
    const { pool, name: disk } = diskReference(args.disk, flags.pool)
    return this.details(await this.ask(pool, 'view', 'disk.show', { disk }), diskView, flags.bytes)
  }
}

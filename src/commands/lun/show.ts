import { LunarCommand } from '../../core/cli/base-command.ts'
import { bytesFlag, neededArg, poolFlag } from '../../core/cli/flags.ts'
import { parseReference } from '../../core/cli/references.ts'
import { lunView } from '../../core/cli/views/lun.ts'
import type { LunDetail } from '../../core/server/api.ts'

export default class LunShow extends LunarCommand {
  static override summary = 'Show one LUN: size, space by disk, settings, layers'
  static override examples = ['lunar lun show tank/db', 'lunar lun show db --pool tank --json']
  static override args = { lun: neededArg('the LUN') }
  static override flags = { ...poolFlag(), ...bytesFlag() }

  override async run(): Promise<LunDetail> {
    const { args, flags } = await this.parse(LunShow)
    const { pool, name: lun } = parseReference(args.lun, flags.pool, 'lun')
    return this.details(await this.ask(pool, 'view', 'lun.show', { lun }), lunView, flags.bytes)
  }
}

import { LunarCommand } from '../../core/cli/base-command.ts'
import { bytesFlag, neededArg, poolFlag } from '../../core/cli/flags.ts'
import { parseNumbered, parseReference } from '../../core/cli/references.ts'
import { rstoreView } from '../../core/cli/views/rstore.ts'
import type { RstoreDetail } from '../../core/server/api.ts'

export default class RstoreShow extends LunarCommand {
  static override summary = 'Show one redundant store: its places on disks and its slices'
  static override examples = ['lunar rstore show tank/db 0', 'lunar rstore show db 0 --pool tank --json']
  static override args = { lun: neededArg('the LUN'), store: neededArg('number of the store in the LUN') }
  static override flags = { ...poolFlag(), ...bytesFlag() }

  override async run(): Promise<RstoreDetail> {
    const { args, flags } = await this.parse(RstoreShow)
    const { pool, name: lun } = parseReference(args.lun, flags.pool, 'lun')
    const { number: store } = parseNumbered(args.store, pool, 'rstore')
    return this.details(await this.ask(pool, 'view', 'rstore.show', { lun, store }), rstoreView, flags.bytes)
  }
}

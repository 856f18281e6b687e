import { errorTable } from '../../core/base/error-table.ts'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { bytesFlag, neededArg, poolFlag } from '../../core/cli/flags.ts'
import { parseStores } from '../../core/cli/references.ts'
import { rstoreCheckView } from '../../core/cli/views/rstore.ts'
import type { RstoreCheck } from '../../core/server/api.ts'

export default class RstoreVerify extends LunarCommand {
  static override summary = 'Compare the copies, or columns and parity, of a LUN or of one store; exits with 8 when they do not fit'
  static override examples = ['lunar rstore verify tank/db', 'lunar rstore verify tank/db/0 --json']
  static override args = { stores: neededArg('the LUN, or LUN/STORE') }
  static override flags = { ...poolFlag(), ...bytesFlag() }

  override async run(): Promise<RstoreCheck> {
    const { args, flags } = await this.parse(RstoreVerify)
    const { pool, lun, store } = parseStores(args.stores, flags.pool)
    const check = await this.details(
      await this.ask(pool, 'owner', 'rstore.verify', store === undefined ? { lun } : { lun, store }),
      rstoreCheckView,
      flags.bytes,
    )
    if (check.differs + check.unreadable + check.lost > 0) this.setStatus(errorTable.ERR_CHECK_FAILED.exit)
    return check
  }
}

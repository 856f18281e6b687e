import { errorTable } from '../../core/base/error-table.ts'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { optionalPoolArg, poolFlag } from '../../core/cli/flags.ts'
import { parsePool } from '../../core/cli/references.ts'
import { checkView } from '../../core/cli/views/check.ts'
import type { CheckView } from '../../core/server/api.ts'

export default class MetadataCheck extends LunarCommand {
  static override summary = 'Read all metadata of a pool and look for contradictions; exits with 8 when there are any'
  static override examples = ['lunar metadata check tank', 'lunar metadata check --pool tank --json']
  static override args = { pool: optionalPoolArg() }
  static override flags = poolFlag()

  override async run(): Promise<CheckView> {
    const { args, flags } = await this.parse(MetadataCheck)
    const check = await this.details(await this.ask(parsePool(args.pool, flags.pool), 'view', 'metadata.check', {}), checkView)
    if (!check.ok) this.setStatus(errorTable.ERR_CHECK_FAILED.exit)
    return check
  }
}

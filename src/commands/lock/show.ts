import { LunarCommand } from '../../core/cli/base-command.ts'
import { optionalPoolArg, poolFlag } from '../../core/cli/flags.ts'
import { parsePool } from '../../core/cli/references.ts'
import { lockView } from '../../core/cli/views/lock.ts'
import type { LockView } from '../../core/server/api.ts'

export default class LockShow extends LunarCommand {
  static override summary = 'Show which process owns a pool'
  static override examples = ['lunar lock show tank', 'lunar lock show --pool tank --json']
  static override args = { pool: optionalPoolArg() }
  static override flags = poolFlag()

  override async run(): Promise<LockView> {
    const { args, flags } = await this.parse(LockShow)
    return this.details(await this.ask(parsePool(args.pool, flags.pool), 'view', 'lock.show', {}), lockView)
  }
}

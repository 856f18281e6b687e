import { LunarCommand } from '../../core/cli/base-command.ts'
import { bytesFlag, optionalPoolArg, poolFlag } from '../../core/cli/flags.ts'
import { parsePool } from '../../core/cli/references.ts'
import { poolView } from '../../core/cli/views/pool.ts'
import type { PoolDetail } from '../../core/server/api.ts'

export default class PoolShow extends LunarCommand {
  static override summary = 'Show one pool: space, quorum, settings'
  static override examples = ['lunar pool show tank', 'lunar pool show --pool tank --json']
  static override args = { pool: optionalPoolArg() }
  static override flags = { ...poolFlag(), ...bytesFlag() }

  override async run(): Promise<PoolDetail> {
    const { args, flags } = await this.parse(PoolShow)
    return this.details(await this.ask(parsePool(args.pool, flags.pool), 'view', 'pool.show', {}), poolView, flags.bytes)
  }
}

import * as Flags from '@oclif/core/flags'
import { errorTable } from '../../core/base/error-table.ts'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { bytesFlag, optionalPoolArg, poolFlag } from '../../core/cli/flags.ts'
import { parsePool } from '../../core/cli/references.ts'
import { statusView } from '../../core/cli/views/pool.ts'
import type { Health, PoolStatus as Status } from '../../core/server/api.ts'

const statusOf: Record<Health, number> = { healthy: 0, degraded: errorTable.ERR_DEGRADED.exit, critical: errorTable.ERR_CRITICAL.exit }

export default class PoolStatus extends LunarCommand {
  static override summary = 'Show the health of a pool: disks, LUNs with less than they were promised, tasks'
  static override examples = ['lunar pool status tank', 'lunar pool status --check tank', 'lunar pool status tank --json']
  static override args = { pool: optionalPoolArg() }
  static override flags = {
    check: Flags.boolean({ description: 'exit with 9 when degraded, 10 when critical', default: false }),
    ...poolFlag(),
    ...bytesFlag(),
  }

  override async run(): Promise<Status> {
    const { args, flags } = await this.parse(PoolStatus)
    const status = await this.details(await this.ask(parsePool(args.pool, flags.pool), 'view', 'pool.status', {}), statusView, flags.bytes)
    if (flags.check) this.setStatus(statusOf[status.health])
    return status
  }
}

import { LunarCommand } from '../../core/cli/base-command.ts'
import { bytesFlag, optionalPoolArg, poolFlag } from '../../core/cli/flags.ts'
import { parsePool } from '../../core/cli/references.ts'
import { serverView } from '../../core/cli/views/server.ts'
import type { ServerStatus as Status } from '../../core/server/api.ts'

export default class ServerStatus extends LunarCommand {
  static override summary = 'Show the server of a pool: where it listens, and who has which volume open'
  static override examples = ['lunar server status tank', 'lunar server status tank --json']
  static override args = { pool: optionalPoolArg() }
  static override flags = { ...poolFlag(), ...bytesFlag() }

  override async run(): Promise<Status> {
    const { args, flags } = await this.parse(ServerStatus)
    const pool = parsePool(args.pool, flags.pool)
    return this.details(await this.ask(pool, 'view', 'server.status', {}), serverView, flags.bytes)
  }
}

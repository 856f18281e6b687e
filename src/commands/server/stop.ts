import { LunarCommand } from '../../core/cli/base-command.ts'
import { dryRunFlag, optionalPoolArg, poolFlag } from '../../core/cli/flags.ts'
import { parsePool } from '../../core/cli/references.ts'

export default class ServerStop extends LunarCommand {
  static override summary = 'Stop the server of a pool, with all that it serves, and wait until it has ended'
  static override description = 'What clients asked for is done and flushed first. Clients that reconnect go on when it is started again.'
  static override examples = ['lunar server stop tank --dry-run', 'lunar server stop tank']
  static override args = { pool: optionalPoolArg() }
  static override flags = { ...poolFlag(), ...dryRunFlag() }

  override async run(): Promise<{ pool: string; pid: number }> {
    const { args, flags } = await this.parse(ServerStop)
    const front = await this.around.front()
    const stopped = front.stopServer(parsePool(args.pool, flags.pool), { command: this.typed, dryRun: flags['dry-run'], signal: this.signal })
    const reply = await this.waitFor('stopping the server', stopped)
    return this.say(reply, ({ pool, pid }) => `${flags['dry-run'] ? 'Would stop' : 'Stopped'} the server of pool "${pool}" (process ${pid})`)
  }
}

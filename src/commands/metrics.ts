import { LunarCommand } from '../core/cli/base-command.ts'
import { optionalPoolArg, poolFlag } from '../core/cli/flags.ts'
import { writeAll } from '../core/cli/output.ts'
import { parsePool } from '../core/cli/references.ts'

export default class Metrics extends LunarCommand {
  static override summary = 'Print the metrics of a pool, and of the process that owns it, as Prometheus reads them'
  static override description =
    'What is counted is counted by the owner since it opened the pool: lunar serve --metrics-listen lets Prometheus ask it. Without an owner there is only what the metadata says.'
  static override examples = ['lunar metrics tank', 'lunar metrics tank --json']
  static override args = { pool: optionalPoolArg() }
  static override flags = { ...poolFlag() }

  override async run(): Promise<{ text: string }> {
    const { args, flags } = await this.parse(Metrics)
    const { text } = this.keep(await this.ask(parsePool(args.pool, flags.pool), 'view', 'pool.metrics', {}))
    await this.print(() => writeAll(this.around.stdout, text))
    return { text }
  }
}

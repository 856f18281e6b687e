import { LunarCommand } from '../../core/cli/base-command.ts'
import { listFlags, numberFlag, optionalPoolArg, poolFlag } from '../../core/cli/flags.ts'
import { parsePool } from '../../core/cli/references.ts'
import { eventColumns } from '../../core/cli/views/event.ts'

export default class PoolEvents extends LunarCommand {
  static override summary = 'List what happened to a pool, oldest first'
  static override examples = ['lunar pool events tank', 'lunar pool events tank --limit 5 -o time,event,message', 'lunar pool events tank --after 1 --json']
  static override args = { pool: optionalPoolArg() }
  static override flags = {
    limit: numberFlag('the newest N events only'),
    after: numberFlag('events with a number above N only'),
    ...poolFlag(),
    ...listFlags(),
  }

  override async run(): Promise<readonly unknown[]> {
    const { args, flags } = await this.parse(PoolEvents)
    const help = await this.columnsHelp(eventColumns, flags)
    if (help) return help
    const { limit, after } = flags
    const params = { ...(limit === undefined ? {} : { limit }), ...(after === undefined ? {} : { after }) }
    return this.list(await this.ask(parsePool(args.pool, flags.pool), 'view', 'pool.events', params), eventColumns, flags, 'no events')
  }
}

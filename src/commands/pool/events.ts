import * as Flags from '@oclif/core/flags'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { listFlags, optionalPoolArg, pastFlags, pastParams, poolFlag } from '../../core/cli/flags.ts'
import { parsePool } from '../../core/cli/references.ts'
import { eventColumns } from '../../core/cli/views/event.ts'
import type { EventView, Params, PoolService } from '../../core/server/api.ts'

export default class PoolEvents extends LunarCommand {
  static override summary = 'List what happened to a pool, oldest first'
  static override description =
    'With --follow it goes on with what happens, whoever owns the pool, until it is interrupted; --json is then an object a line. It locks nothing: while nobody owns the pool it waits for the next owner.'
  static override examples = [
    'lunar pool events tank --limit 5 -o time,event,message',
    'lunar pool events tank --after 1 --json',
    'lunar pool events tank --follow',
  ]
  static override args = { pool: optionalPoolArg() }
  static override flags = {
    ...pastFlags('events'),
    follow: Flags.boolean({ char: 'f', description: 'go on with what happens', default: false, exclusive: ['sort'] }),
    ...poolFlag(),
    ...listFlags(),
  }

  override async run(): Promise<readonly unknown[]> {
    const { args, flags } = await this.parse(PoolEvents)
    const help = await this.columnsHelp(eventColumns, flags)
    if (help) return help
    const params = pastParams(flags)
    const pool = parsePool(args.pool, flags.pool)
    if (!flags.follow) return this.list(await this.ask(pool, 'view', 'pool.events', params), eventColumns, flags, 'no events')
    await using service = await this.open(pool, 'view')
    await this.stream(this.following(service, params), eventColumns, flags)
    return []
  }

  private async *following(service: PoolService, params: Params<'pool.events'>): AsyncGenerator<EventView> {
    const past = this.keep(await service.call('pool.events', params, this.signal))
    yield* past
    yield* service.follow(past.at(-1)?.number ?? params.after ?? 0, this.signal)
  }
}

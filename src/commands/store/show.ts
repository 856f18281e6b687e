import { LunarCommand } from '../../core/cli/base-command.ts'
import { bytesFlag, neededArg, poolFlag } from '../../core/cli/flags.ts'
import { parseReference } from '../../core/cli/references.ts'
import { storeView } from '../../core/cli/views/snapshot.ts'
import type { StoreDetail } from '../../core/server/api.ts'

export default class StoreShow extends LunarCommand {
  static override summary = 'Show one store: what it holds, and whose snapshots keep chunks there'
  static override examples = ['lunar store show tank/snapshots-raid1', 'lunar store show snapshots-raid1 --pool tank --json']
  static override args = { store: neededArg('the store') }
  static override flags = { ...poolFlag(), ...bytesFlag() }

  override async run(): Promise<StoreDetail> {
    const { args, flags } = await this.parse(StoreShow)
    const { pool, name: store } = parseReference(args.store, flags.pool, 'store')
    return this.details(await this.ask(pool, 'view', 'store.show', { store }), storeView, flags.bytes)
  }
}

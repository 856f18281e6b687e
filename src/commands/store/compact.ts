import { formatSize } from '../../core/base/units.ts'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { dryRunFlag, neededArg, poolFlag } from '../../core/cli/flags.ts'
import { parseReference } from '../../core/cli/references.ts'
import type { Result } from '../../core/server/api.ts'

export default class StoreCompact extends LunarCommand {
  static override summary = 'Move the chunks of a store together, and give back the space between them'
  static override description =
    'Deleting snapshots leaves holes where other snapshots keep chunks between theirs. Volumes and snapshots are used as usual meanwhile. Ctrl-C ends it; what was moved stays so.'
  static override examples = ['lunar store compact tank/snapshots-raid1', 'lunar store compact spare --pool tank --dry-run']
  static override args = { store: neededArg('the store') }
  static override flags = { ...poolFlag(), ...dryRunFlag() }

  override async run(): Promise<Result<'store.compact'>> {
    const { args, flags } = await this.parse(StoreCompact)
    const { pool, name: store } = parseReference(args.store, flags.pool, 'store')
    const reply = await this.ask(pool, 'owner', 'store.compact', { store, dryRun: flags['dry-run'] })
    return this.say(reply, ({ name, moved, freed }) =>
      flags['dry-run']
        ? `Would move ${formatSize(moved)} of chunks of store "${name}", and give ${formatSize(freed)} of its slices back`
        : `Moved ${formatSize(moved)} of chunks of store "${name}"; ${formatSize(freed)} of the pool came back`,
    )
  }
}

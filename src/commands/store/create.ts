import { formatSize } from '../../core/base/units.ts'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { dryRunFlag, neededArg, poolFlag, raidFlag, sizeFlag } from '../../core/cli/flags.ts'
import { parseReference } from '../../core/cli/references.ts'
import type { StoreSummary } from '../../core/server/api.ts'

export default class StoreCreate extends LunarCommand {
  static override summary = 'Create a store for the preserved chunks of snapshots; several volumes may share it'
  static override description =
    'It takes space as chunks come. Snapshots that name no store use one of the redundancy of their volume, made when it is missing.'
  static override examples = ['lunar store create tank/kept --raid raid1', 'lunar store create small --pool tank --raid raid0 --size 1GiB --dry-run']
  static override args = { store: neededArg('name of the new store, or pool/name') }
  static override flags = {
    raid: raidFlag()({ required: true }),
    size: sizeFlag('what it may grow to; 16 TiB when left out'),
    ...poolFlag(),
    ...dryRunFlag(),
  }

  override async run(): Promise<StoreSummary> {
    const { args, flags } = await this.parse(StoreCreate)
    const { pool, name } = parseReference(args.store, flags.pool, 'store')
    const reply = await this.ask(pool, 'owner', 'store.create', {
      name,
      raid: flags.raid,
      dryRun: flags['dry-run'],
      ...(flags.size === undefined ? {} : { size: flags.size }),
    })
    return this.say(reply, ({ raid, size }) => `${flags['dry-run'] ? 'Would create' : 'Created'} store "${name}": ${raid}, up to ${formatSize(size)}`)
  }
}

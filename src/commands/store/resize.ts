import { formatSize } from '../../core/base/units.ts'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { dryRunFlag, neededArg, neededSizeFlag, poolFlag } from '../../core/cli/flags.ts'
import { parseReference } from '../../core/cli/references.ts'
import type { Result } from '../../core/server/api.ts'

export default class StoreResize extends LunarCommand {
  static override summary = 'Change what a store may grow to'
  static override description =
    'A store takes space as chunks come, up to its size. It does not shrink below the chunks it holds: lunar store compact moves them down.'
  static override examples = ['lunar store resize tank/spare --size 1GiB', 'lunar store resize spare --size 32TiB --pool tank --dry-run']
  static override args = { store: neededArg('the store') }
  static override flags = { size: neededSizeFlag('the new size'), ...poolFlag(), ...dryRunFlag() }

  override async run(): Promise<Result<'store.resize'>> {
    const { args, flags } = await this.parse(StoreResize)
    const { pool, name: store } = parseReference(args.store, flags.pool, 'store')
    const reply = await this.ask(pool, 'owner', 'store.resize', { store, size: flags.size, dryRun: flags['dry-run'] })
    return this.say(
      reply,
      ({ name, was, size }) => `${flags['dry-run'] ? 'Would resize' : 'Resized'} store "${name}" from ${formatSize(was)} to ${formatSize(size)}`,
    )
  }
}

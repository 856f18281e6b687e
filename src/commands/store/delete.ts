import { LunarCommand } from '../../core/cli/base-command.ts'
import { dryRunFlag, neededArg, poolFlag, yesFlag } from '../../core/cli/flags.ts'
import { parseReference } from '../../core/cli/references.ts'
import type { Result } from '../../core/server/api.ts'

export default class StoreDelete extends LunarCommand {
  static override summary = 'Delete a store that no snapshot keeps chunks in'
  static override examples = ['lunar store delete tank/spare --dry-run', 'lunar store delete spare --pool tank --yes']
  static override args = { store: neededArg('the store') }
  static override flags = { ...yesFlag(), ...poolFlag(), ...dryRunFlag() }

  override async run(): Promise<Result<'store.delete'>> {
    const { args, flags } = await this.parse(StoreDelete)
    const { pool, name: store } = parseReference(args.store, flags.pool, 'store')
    await using service = await this.open(pool, 'owner')
    if (!flags['dry-run']) {
      await service.call('store.delete', { store, dryRun: true }, this.signal) // refused before anybody is asked
      await this.consent(flags.yes, `Delete store "${store}" of pool "${service.pool}"`)
    }
    const reply = await service.call('store.delete', { store, dryRun: flags['dry-run'] }, this.signal)
    return this.say(reply, ({ name }) => `${flags['dry-run'] ? 'Would delete' : 'Deleted'} store "${name}"`)
  }
}

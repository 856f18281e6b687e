import { LunarCommand } from '../../core/cli/base-command.ts'
import { disconnectFlag, dryRunFlag, neededArg, poolFlag, yesFlag } from '../../core/cli/flags.ts'
import { parseReference } from '../../core/cli/references.ts'
import type { Result } from '../../core/server/api.ts'

export default class SnapRefresh extends LunarCommand {
  static override summary = 'Drop what was written to a writable snapshot: it reads as it did when it was made'
  static override examples = ['lunar snap refresh tank/web@rw --dry-run', 'lunar snap refresh web@old --pool tank --yes']
  static override args = { snapshot: neededArg('VOLUME@NAME, or pool/VOLUME@NAME') }
  static override flags = { ...yesFlag(), ...disconnectFlag(), ...poolFlag(), ...dryRunFlag() }

  override async run(): Promise<Result<'snap.refresh'>> {
    const { args, flags } = await this.parse(SnapRefresh)
    const { pool, name: snapshot } = parseReference(args.snapshot, flags.pool, 'snapshot')
    await using service = await this.open(pool, 'owner')
    if (!flags['dry-run']) {
      // Refused before anybody is asked; clients that are to be disconnected are in the way of that, too.
      if (!flags.disconnect) await service.call('snap.refresh', { snapshot, dryRun: true }, this.signal)
      await this.consent(flags.yes, `Drop what was written to snapshot "${snapshot}" of pool "${service.pool}"`)
    }
    const reply = await service.call('snap.refresh', { snapshot, disconnect: flags.disconnect, dryRun: flags['dry-run'] }, this.signal)
    return this.say(reply, ({ name }) => `${flags['dry-run'] ? 'Would drop' : 'Dropped'} what was written to snapshot "${name}"`)
  }
}

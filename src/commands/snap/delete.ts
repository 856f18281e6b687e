import { formatSize } from '../../core/base/units.ts'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { dryRunFlag, manyArg, poolFlag, yesFlag } from '../../core/cli/flags.ts'
import { parseReferences } from '../../core/cli/references.ts'
import type { Result } from '../../core/server/api.ts'

export default class SnapDelete extends LunarCommand {
  static override summary = 'Delete snapshots, wherever they are in the tree; others keep what they hold'
  static override description =
    'One that writable views or snapshots of its own rest on stays, hidden, until they are gone. Space comes back in the background; --dry-run says how much, also what only those named share.'
  static override examples = ['lunar snap delete tank/web@old --dry-run', 'lunar snap delete web@old --pool tank --yes']
  static override args = { snapshots: manyArg('VOLUME@NAME, or pool/VOLUME@NAME') }
  static override flags = { ...yesFlag(), ...poolFlag(), ...dryRunFlag() }

  override async run(): Promise<Result<'snap.delete'>> {
    const { args, flags } = await this.parse(SnapDelete)
    const { pool, names } = parseReferences(args.snapshots as unknown as string[], flags.pool, 'snapshot')
    await using service = await this.open(pool, 'owner')
    if (!flags['dry-run']) {
      await service.call('snap.delete', { snapshots: names, dryRun: true }, this.signal) // refused before anybody is asked
      await this.consent(flags.yes, `Delete ${names.map(name => `"${name}"`).join(', ')} of pool "${service.pool}"`)
    }
    const reply = await service.call('snap.delete', { snapshots: names, count: flags['dry-run'], dryRun: flags['dry-run'] }, this.signal)
    return this.say(reply, ({ deleted, freed, task }) =>
      [
        ...deleted.map(
          ({ name, hidden }) =>
            `${flags['dry-run'] ? 'Would delete' : 'Deleted'} snapshot "${name}"${hidden ? '; it is kept, hidden, for what rests on it' : task === null ? '' : ` (task ${task})`}`,
        ),
        ...(freed === null ? [] : [`${formatSize(freed)} of chunks would come back`]),
      ].join('\n'),
    )
  }
}

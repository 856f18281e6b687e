import { formatSize } from '../../core/base/units.ts'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { disconnectFlag, dryRunFlag, forceFlag, neededArg, neededSizeFlag, poolFlag } from '../../core/cli/flags.ts'
import { parseReference } from '../../core/cli/references.ts'
import type { Result } from '../../core/server/api.ts'

export default class LunResize extends LunarCommand {
  static override summary = 'Grow or shrink a LUN'
  static override description =
    'A shrink that would drop written data is refused without --force=lost-data. Snapshots keep the size of their instant and what they hold.'
  static override examples = ['lunar lun resize tank/db --size 512MiB', 'lunar lun resize db --size 384MiB --pool tank --dry-run']
  static override args = { lun: neededArg('the LUN') }
  static override flags = {
    size: neededSizeFlag('the new size'),
    ...forceFlag(['lost-data'], 'drop what is written beyond the new end'),
    ...disconnectFlag(),
    ...poolFlag(),
    ...dryRunFlag(),
  }

  override async run(): Promise<Result<'lun.resize'>> {
    const { args, flags } = await this.parse(LunResize)
    const { pool, name: lun } = parseReference(args.lun, flags.pool, 'lun')
    const reply = await this.ask(pool, 'owner', 'lun.resize', {
      lun,
      size: flags.size,
      force: flags.force?.includes('lost-data') ?? false,
      disconnect: flags.disconnect,
      dryRun: flags['dry-run'],
    })
    return this.say(
      reply,
      done => `${flags['dry-run'] ? 'Would resize' : 'Resized'} LUN "${done.name}" from ${formatSize(done.was)} to ${formatSize(done.size)}`,
    )
  }
}

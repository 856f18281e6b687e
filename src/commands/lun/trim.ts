import { formatSize } from '../../core/base/units.ts'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { dryRunFlag, neededArg, poolFlag, rangeFlags, yesFlag } from '../../core/cli/flags.ts'
import { resolveRange } from '../../core/cli/ranges.ts'
import { parseReference } from '../../core/cli/references.ts'
import type { Result } from '../../core/server/api.ts'

export default class LunTrim extends LunarCommand {
  static override summary = 'Give the space of a range back; what it held is gone'
  static override description = 'Whole slices of 1 MiB are given back; what is smaller at the edges stays as it is, and so does what snapshots may need.'
  static override examples = ['lunar lun trim tank/db --offset 4MiB --length 8MiB --yes', 'lunar lun trim db --pool tank --dry-run']
  static override args = { lun: neededArg('the LUN, or a writable snapshot') }
  static override flags = { ...rangeFlags(), ...yesFlag(), ...poolFlag(), ...dryRunFlag() }

  override async run(): Promise<Result<'lun.trim'>> {
    const { args, flags } = await this.parse(LunTrim)
    const { pool, name: lun } = parseReference(args.lun, flags.pool, 'lun')
    const what = lun.includes('@') ? 'snapshot' : 'LUN'
    await using service = await this.open(pool, 'owner')
    const range = resolveRange((await service.call('volume.show', { volume: lun }, this.signal)).data, flags.offset, flags.length)
    if (!flags['dry-run']) await this.consent(flags.yes, `Drop ${formatSize(range.length)} of ${what} "${lun}" from ${formatSize(range.offset)} on`)
    const reply = await this.waitFor('trimming', service.call('lun.trim', { lun, ...range, dryRun: flags['dry-run'] }, this.signal))
    return this.say(reply, done => `${flags['dry-run'] ? 'Would trim' : 'Trimmed'} ${formatSize(done.trimmed)} of ${what} "${lun}"`)
  }
}

import { formatSize } from '../../core/base/units.ts'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { dryRunFlag, neededArg, poolFlag, rangeFlags, yesFlag } from '../../core/cli/flags.ts'
import { resolveRange } from '../../core/cli/ranges.ts'
import { parseReference } from '../../core/cli/references.ts'
import type { Result } from '../../core/server/api.ts'

export default class LunZero extends LunarCommand {
  static override summary = 'Make a range of a LUN read as zeros'
  static override examples = ['lunar lun zero tank/db --offset 1MiB --length 1MiB --yes', 'lunar lun zero db --pool tank --dry-run']
  static override args = { lun: neededArg('the LUN, or a writable snapshot') }
  static override flags = { ...rangeFlags(), ...yesFlag(), ...poolFlag(), ...dryRunFlag() }

  override async run(): Promise<Result<'lun.zero'>> {
    const { args, flags } = await this.parse(LunZero)
    const { pool, name: lun } = parseReference(args.lun, flags.pool, 'lun')
    const what = lun.includes('@') ? 'snapshot' : 'LUN'
    await using service = await this.open(pool, 'owner')
    const range = resolveRange((await service.call('volume.show', { volume: lun }, this.signal)).data, flags.offset, flags.length)
    if (!flags['dry-run']) await this.consent(flags.yes, `Zero ${formatSize(range.length)} of ${what} "${lun}" from ${formatSize(range.offset)} on`)
    const reply = await this.waitFor('zeroing', service.call('lun.zero', { lun, ...range, dryRun: flags['dry-run'] }, this.signal))
    return this.say(reply, done => `${flags['dry-run'] ? 'Would zero' : 'Zeroed'} ${formatSize(done.zeroed)} of ${what} "${lun}"`)
  }
}

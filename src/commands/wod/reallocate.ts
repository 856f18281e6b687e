import * as Flags from '@oclif/core/flags'
import { formatSize } from '../../core/base/units.ts'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { dryRunFlag, neededArg, poolFlag, yesFlag } from '../../core/cli/flags.ts'
import { parseByteRange } from '../../core/cli/ranges.ts'
import { parseReference } from '../../core/cli/references.ts'
import type { Result } from '../../core/server/api.ts'

export default class WodReallocate extends LunarCommand {
  static override summary = 'Make blocks of a write-once device unwritten again; what they held is gone'
  static override description = 'All of the device, or a range of whole blocks. Refused while a snapshot rests on it.'
  static override examples = ['lunar wod reallocate tank/once --yes', 'lunar wod reallocate once --pool tank --range 4MiB+1MiB --dry-run']
  static override args = { wod: neededArg('the write-once device') }
  static override flags = {
    range: Flags.string({ description: 'bytes from the start of the device, and how many, in whole blocks: 4MiB+1MiB', helpValue: 'OFFSET+LENGTH' }),
    ...yesFlag(),
    ...poolFlag(),
    ...dryRunFlag(),
  }

  override async run(): Promise<Result<'wod.reallocate'>> {
    const { args, flags } = await this.parse(WodReallocate)
    const { pool, name: wod } = parseReference(args.wod, flags.pool, 'wod')
    const params = { wod, ...(flags.range === undefined ? {} : parseByteRange(flags.range)) }
    await using service = await this.open(pool, 'owner')
    if (!flags['dry-run']) {
      const { data } = await service.call('wod.reallocate', { ...params, dryRun: true }, this.signal)
      await this.consent(
        flags.yes,
        `Drop the ${formatSize(data.emptied)} that write-once device "${data.name}" holds in ${formatSize(data.length)} from ${formatSize(data.offset)} on`,
      )
    }
    const reply = await this.waitFor('reallocating', service.call('wod.reallocate', { ...params, dryRun: flags['dry-run'] }, this.signal))
    return this.say(
      reply,
      done =>
        `${flags['dry-run'] ? 'Would make' : 'Made'} ${formatSize(done.length)} of write-once device "${done.name}" unwritten, of which ${formatSize(done.emptied)} ${flags['dry-run'] ? 'are' : 'were'} written`,
    )
  }
}

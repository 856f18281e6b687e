import * as Flags from '@oclif/core/flags'
import { LunarError } from '../../core/base/errors.ts'
import { formatSize, MIB } from '../../core/base/units.ts'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { collector, requirePipe } from '../../core/cli/data-streams.ts'
import { dryRunFlag, forceFlag, MIXED, MIXED_ABOUT, mixedAllowed, neededArg, poolFlag, rangeFlags } from '../../core/cli/flags.ts'
import { resolveRange } from '../../core/cli/ranges.ts'
import { parseReference } from '../../core/cli/references.ts'

/** What fits into an envelope. */
const JSON_BYTES_MAX = 16 * MIB

export default class LunRead extends LunarCommand {
  static override summary = 'Write a range of a LUN to stdout or to a file'
  static override description = 'With --json and without --out the data is in the envelope, in base64, up to 16 MiB.'
  static override examples = ['lunar lun read tank/db --length 4KiB --out first.bin', 'lunar lun read tank/db --offset 1MiB --length 512 --json']
  static override args = { lun: neededArg('the LUN') }
  static override flags = {
    ...rangeFlags(),
    out: Flags.string({ description: 'write to a new file instead of stdout', helpValue: 'FILE' }),
    ...forceFlag(['overwrite', MIXED], `overwrite the file; ${MIXED_ABOUT}`),
    ...poolFlag(),
    ...dryRunFlag(),
  }

  override async run(): Promise<unknown> {
    const { args, flags } = await this.parse(LunRead)
    const { pool, name: lun } = parseReference(args.lun, flags.pool, 'lun')
    const inline = this.jsonEnabled() && flags.out === undefined
    if (flags.out === undefined && !inline && !flags['dry-run']) requirePipe(this.around.stdout, 'stdout', this.name)
    await using service = await this.open(pool, 'owner')
    const shown = await service.call('volume.show', { volume: lun }, this.signal)
    const range = resolveRange(shown.data, flags.offset, flags.length)
    const plan = { ...shown, data: { lun, ...range, to: flags.out ?? 'stdout' } }
    if (flags['dry-run']) return this.say(plan, () => `Would read ${formatSize(range.length)} of LUN "${lun}" from ${formatSize(range.offset)} on`)
    if (inline && range.length > JSON_BYTES_MAX)
      throw new LunarError('ERR_USAGE', `Cannot put ${formatSize(range.length)} into the envelope`, {
        why: `--json without --out takes at most ${formatSize(JSON_BYTES_MAX)}`,
        fix: 'give a smaller --length, or --out FILE',
      })
    const { exportFrom } = await this.around.transfers()
    const collected = collector()
    const device = await service.openLun(lun, { readOnly: true, ...mixedAllowed(flags) })
    try {
      await exportFrom(device, flags.out ?? '-', {
        ...range,
        signal: this.signal,
        stdout: inline ? collected.stream : this.around.stdout,
        overwrite: flags.force?.includes('overwrite') ?? false,
      })
    } finally {
      await device.close()
    }
    if (inline) return { ...this.keep(plan), base64: collected.take().toString('base64') }
    return flags.out === undefined ? this.keep(plan) : this.say(plan, () => `Read ${formatSize(range.length)} of LUN "${lun}" into ${flags.out}`)
  }
}

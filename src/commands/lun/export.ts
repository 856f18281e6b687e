import { formatSize } from '../../core/base/units.ts'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { requirePipe } from '../../core/cli/data-streams.ts'
import { dryRunFlag, forceFlag, MIXED, MIXED_ABOUT, mixedAllowed, neededArg, poolFlag, progressFlag, verifyFlag } from '../../core/cli/flags.ts'
import { parseReference } from '../../core/cli/references.ts'
import { describeTransfer } from '../../core/cli/transfer-text.ts'
import { usageError } from '../../core/cli/translate.ts'

export default class LunExport extends LunarCommand {
  static override summary = 'Copy a LUN into a file, a block device or a pipe'
  static override description = 'Holes stay holes in files.'
  static override examples = [
    'lunar lun export tank/db db.img --verify',
    'lunar lun export db db.img --pool tank --force=overwrite',
    'lunar lun export tank/db - > copy.img',
  ]
  static override args = { lun: neededArg('the LUN'), target: neededArg('a new file, a block device, or - for stdout') }
  static override flags = {
    ...forceFlag(['overwrite', MIXED], `overwrite a file or block device that is there; ${MIXED_ABOUT}`),
    ...verifyFlag(),
    ...progressFlag(),
    ...poolFlag(),
    ...dryRunFlag(),
  }

  override async run(): Promise<unknown> {
    const { args, flags } = await this.parse(LunExport)
    const { pool, name: lun } = parseReference(args.lun, flags.pool, 'lun')
    const toPipe = args.target === '-'
    if (toPipe && this.jsonEnabled() && !flags['dry-run'])
      throw usageError('Cannot export to stdout with --json', 'stdout carries the data or the envelope, not both', this.name)
    if (toPipe && flags.verify) throw usageError('Cannot verify an export to stdout', 'what went into a pipe cannot be read back', this.name)
    if (toPipe && !flags['dry-run']) requirePipe(this.around.stdout, 'stdout', this.name)
    await using service = await this.open(pool, 'owner')
    const shown = await service.call('volume.show', { volume: lun }, this.signal)
    if (flags['dry-run'])
      return this.say(
        { ...shown, data: { lun, to: args.target, size: shown.data.size, bound: shown.data.bound } },
        done => `Would export LUN "${lun}" (${formatSize(done.size)}, at most ${formatSize(done.bound)} of data) to ${done.to}`,
      )
    const { exportFrom } = await this.around.transfers()
    const progress = this.progress(flags.progress, `export ${lun}`)
    const device = await service.openLun(lun, { readOnly: true, ...mixedAllowed(flags) })
    try {
      const result = await exportFrom(device, args.target, {
        verify: flags.verify,
        overwrite: flags.force?.includes('overwrite') ?? false,
        signal: this.signal,
        stdout: this.around.stdout,
        onProgress: ({ done, total }) => progress.update(done, total),
      })
      progress.end()
      const reply = { ...shown, data: { lun, to: args.target, ...result } }
      return toPipe ? this.keep(reply) : await this.say(reply, done => `Exported LUN "${lun}" to ${args.target}: ${describeTransfer(done)}`)
    } finally {
      progress.end()
      await device.close()
    }
  }
}

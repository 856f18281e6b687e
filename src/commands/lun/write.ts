import { formatSize } from '../../core/base/units.ts'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { requirePipe } from '../../core/cli/data-streams.ts'
import { dryRunFlag, forceFlag, MIXED, MIXED_ABOUT, mixedAllowed, neededArg, optionalArg, poolFlag, sizeFlag, verifyFlag } from '../../core/cli/flags.ts'
import { resolveRange } from '../../core/cli/ranges.ts'
import { parseReference } from '../../core/cli/references.ts'
import { fileStream, wholeBlocks } from '../../core/cli/whole-blocks.ts'

export default class LunWrite extends LunarCommand {
  static override summary = 'Write stdin or a file into a LUN; durable when the command ends'
  static override examples = ['lunar lun write tank/db block.bin --offset 1MiB', 'lunar lun write db --pool tank --verify < block.bin']
  static override args = { lun: neededArg('the LUN'), file: optionalArg('a file; stdin when left out or -') }
  static override flags = {
    offset: sizeFlag('where to begin, bytes from the start of the LUN, in whole blocks'),
    ...forceFlag([MIXED], MIXED_ABOUT),
    ...verifyFlag(),
    ...poolFlag(),
    ...dryRunFlag(),
  }

  override async run(): Promise<unknown> {
    const { args, flags } = await this.parse(LunWrite)
    const { pool, name: lun } = parseReference(args.lun, flags.pool, 'lun')
    const path = args.file ?? '-'
    const offset = flags.offset ?? 0
    if (path === '-' && !flags['dry-run']) requirePipe(this.around.stdin, 'stdin', this.name)
    const { importInto, sourceSize } = await this.around.transfers()
    const length = path === '-' ? null : await sourceSize(path)
    await using service = await this.open(pool, 'owner')
    const shown = await service.call('volume.show', { volume: lun }, this.signal)
    resolveRange(shown.data, offset, length ?? undefined)
    const from = path === '-' ? 'stdin' : path
    if (flags['dry-run'])
      return this.say(
        { ...shown, data: { lun, offset, length, from } },
        () => `Would write ${length === null ? from : formatSize(length)} to LUN "${lun}" from ${formatSize(offset)} on`,
      )
    const device = await service.openLun(lun, mixedAllowed(flags))
    try {
      const fits = length !== null && length % device.blockSize === 0
      const padded = fits ? undefined : wholeBlocks(path === '-' ? this.around.stdin : fileStream(path), device, offset)
      const result = await importInto(device, padded ? '-' : path, {
        offset,
        verify: flags.verify,
        signal: this.signal,
        ...(padded ? { stdin: padded.stream } : {}),
      })
      const reply = { ...shown, data: { lun, offset, length: padded?.length() ?? result.size, from, verified: result.verified } }
      return await this.say(reply, done => `Wrote ${formatSize(done.length)} to LUN "${lun}" from ${formatSize(offset)} on`)
    } finally {
      await device.close()
    }
  }
}

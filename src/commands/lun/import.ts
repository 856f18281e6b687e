import { formatSize } from '../../core/base/units.ts'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { requirePipe } from '../../core/cli/data-streams.ts'
import {
  dryRunFlag,
  forceFlag,
  MIXED,
  MIXED_ABOUT,
  mixedAllowed,
  neededArg,
  poolFlag,
  progressFlag,
  raidFlag,
  sizeFlag,
  verifyFlag,
  yesFlag,
} from '../../core/cli/flags.ts'
import { rangeFlag, stripeFlag } from '../../core/cli/range-flag.ts'
import { parseReference } from '../../core/cli/references.ts'
import { describeTransfer } from '../../core/cli/transfer-text.ts'
import { fillLun, planImport } from '../../core/server/lun-import.ts'

export default class LunImport extends LunarCommand {
  static override summary = 'Copy a file, a block device or a pipe into a LUN, which is created when it is missing'
  static override description = 'Holes stay holes. An interrupted import leaves the LUN marked incomplete: import again, or delete it.'
  static override examples = [
    'lunar lun import tank/vm disk.img --verify',
    'lunar lun import tank/pipe - --size 64MiB --raid raid0 < disk.img',
    'lunar lun import tank/video disk.img --raid raid0 --stripe 2',
  ]
  static override args = { lun: neededArg('the LUN'), source: neededArg('a file, a block device, or - for stdin') }
  static override flags = {
    size: sizeFlag('size of a new LUN; needed for a pipe, else the size of the source in whole MiB'),
    raid: raidFlag()({ description: 'redundancy type of a new LUN; raid1 where the pool has disks for it' }),
    stripe: stripeFlag(),
    range: rangeFlag(),
    ...forceFlag([MIXED], MIXED_ABOUT),
    ...verifyFlag(),
    ...progressFlag(),
    ...yesFlag(),
    ...poolFlag(),
    ...dryRunFlag(),
  }

  override async run(): Promise<unknown> {
    const { args, flags } = await this.parse(LunImport)
    const { pool, name } = parseReference(args.lun, flags.pool, 'lun')
    if (args.source === '-' && !flags['dry-run']) requirePipe(this.around.stdin, 'stdin', this.name)
    const transfers = await this.around.transfers()
    const sourceSize = args.source === '-' ? null : await transfers.sourceSize(args.source)
    await using service = await this.open(pool, 'owner')
    const types = { raid: flags.raid, stripe: flags.stripe, ranges: flags.range }
    const plan = await planImport(service, { name, source: args.source, sourceSize, size: flags.size, ...types }, this.signal)
    if (flags['dry-run'])
      return this.say(
        plan,
        ({ create, size, raid }) =>
          `Would import ${sourceSize === null ? 'stdin' : formatSize(sourceSize)} into ${create ? 'a new' : 'the'} LUN "${name}" (${formatSize(size)}, ${raid})`,
      )
    if (plan.data.overwrites > 0)
      await this.consent(flags.yes, `Overwrite LUN "${name}" of pool "${service.pool}" and the ${formatSize(plan.data.overwrites)} it holds`)
    const progress = this.progress(flags.progress, `import ${name}`)
    try {
      const reply = await fillLun(service, transfers, plan.data, {
        ...mixedAllowed(flags),
        verify: flags.verify,
        signal: this.signal,
        stdin: this.around.stdin,
        onProgress: ({ done, total }) => progress.update(done, total),
      })
      progress.end()
      return await this.say(reply, done => `Imported ${args.source} into LUN "${name}": ${describeTransfer(done)}`)
    } finally {
      progress.end()
    }
  }
}

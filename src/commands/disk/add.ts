import * as Flags from '@oclif/core/flags'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { diskSpecs, WITNESS_SIZE } from '../../core/cli/disk-specs.ts'
import { dryRunFlag, forceFlag, manyArg, poolFlag, sizeFlag } from '../../core/cli/flags.ts'
import type { DiskSummary } from '../../core/server/api.ts'

export default class DiskAdd extends LunarCommand {
  static override summary = 'Add disks to a pool'
  static override examples = [
    'lunar disk add d5.img --size 1GiB --pool tank',
    'lunar disk add w1.img --witness --pool tank',
    'lunar disk add d6.img --size 1GiB --domain rack2 --pool tank',
  ]
  static override args = { disks: manyArg('image files, block devices or NBD URIs') }
  static override flags = {
    size: sizeFlag('size of disks that do not exist yet'),
    witness: Flags.boolean({ description: 'small disks that vote but hold no data', default: false }),
    domain: Flags.string({
      description: 'failure domain of all disks, or of one: FILE=DOMAIN; may be repeated',
      multiple: true,
      multipleNonGreedy: true,
      helpValue: 'DOMAIN',
    }),
    ...forceFlag(['overwrite'], 'overwrite what the disks hold'),
    ...poolFlag(),
    ...dryRunFlag(),
  }

  override async run(): Promise<DiskSummary[]> {
    const { args, flags } = await this.parse(DiskAdd)
    const size = flags.size ?? (flags.witness ? WITNESS_SIZE : undefined)
    const paths = args.disks as unknown as string[]
    const disks = diskSpecs(
      paths.map(path => ({ path, size })),
      flags.domain ?? [],
    )
    const reply = await this.ask(flags.pool, 'owner', 'disk.add', {
      disks,
      witness: flags.witness,
      overwrite: flags.force?.includes('overwrite') ?? false,
      dryRun: flags['dry-run'],
    })
    return this.say(reply, added => `${flags['dry-run'] ? 'Would add' : 'Added'} ${added.map(disk => `disk ${disk.number} (${disk.path ?? '-'})`).join(', ')}`)
  }
}

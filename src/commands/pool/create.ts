import * as Flags from '@oclif/core/flags'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { diskSpecs, WITNESS_SIZE } from '../../core/cli/disk-specs.ts'
import { dryRunFlag, forceFlag, manyArg, neededArg, sizeFlag } from '../../core/cli/flags.ts'
import type { PoolDetail } from '../../core/server/api.ts'

export default class PoolCreate extends LunarCommand {
  static override summary = 'Make a pool of image files, block devices and NBD exports'
  static override description = 'Files that do not exist are made, sparse, with --size. Nothing that holds data is overwritten without --force=overwrite.'
  static override examples = [
    'lunar pool create tank d1.img d2.img d3.img d4.img --size 1GiB',
    'lunar pool create backup e1.img e2.img --size 1GiB --witness w1.img --domain e1.img=rack1 --domain e2.img=rack2',
  ]
  static override args = { name: neededArg('name of the pool'), disks: manyArg('image files, block devices or NBD URIs') }
  static override flags = {
    size: sizeFlag('size of disks that do not exist yet'),
    witness: Flags.string({
      description: 'a small disk that votes but holds no data; may be repeated',
      multiple: true,
      multipleNonGreedy: true,
      helpValue: 'FILE',
    }),
    domain: Flags.string({
      description: 'failure domain of all disks, or of one: FILE=DOMAIN; may be repeated',
      multiple: true,
      multipleNonGreedy: true,
      helpValue: 'DOMAIN',
    }),
    ...forceFlag(['overwrite', 'nonlocal'], 'overwrite what the disks hold; use disks on a network file system'),
    ...dryRunFlag(),
  }

  override async run(): Promise<PoolDetail> {
    const { args, flags } = await this.parse(PoolCreate)
    const paths = args.disks as unknown as string[]
    const witness = flags.witness ?? []
    const domains = flags.domain ?? []
    const specs = diskSpecs([...paths.map(path => ({ path, size: flags.size })), ...witness.map(path => ({ path, size: WITNESS_SIZE }))], domains)
    const front = await this.around.front()
    const reply = await this.waitFor(
      'creating the pool',
      front.createPool({
        name: args.name,
        disks: specs.slice(0, paths.length),
        witness: specs.slice(paths.length),
        overwrite: flags.force?.includes('overwrite') ?? false,
        forceNonlocal: flags.force?.includes('nonlocal') ?? false,
        dryRun: flags['dry-run'],
        command: this.typed,
      }),
    )
    return this.say(reply, pool => `${flags['dry-run'] ? 'Would create' : 'Created'} pool "${pool.name}" on ${pool.disks} disks`)
  }
}

import * as Flags from '@oclif/core/flags'
import { formatSize } from '../../core/base/units.ts'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { dryRunFlag, neededArg, poolFlag, raidFlag, sizeFlag } from '../../core/cli/flags.ts'
import { parseReference } from '../../core/cli/references.ts'
import type { WodDetail } from '../../core/server/api.ts'

export default class WodCreate extends LunarCommand {
  static override summary = 'Create a write-once device: each block takes one write'
  static override description =
    'On a sparse file (file), on a file with its blocks packed (vdisk), on a LUN of its own (lun), or on a log in one (store), where scattered blocks take no more than their own space.'
  static override examples = [
    'lunar wod create tank/before --on lun --for db',
    'lunar wod create tank/log --on store --size 64MiB --block-size 16KiB --raid raid1',
    'lunar wod create tank/file --on file --path before.wod --size 64MiB',
  ]
  static override args = { wod: neededArg('name of the new device, or pool/name') }
  static override flags = {
    on: Flags.option({ description: 'what it lies on', options: ['file', 'vdisk', 'lun', 'store'] as const, required: true })(),
    path: Flags.string({ description: 'the file to make, for file and vdisk', helpValue: 'FILE' }),
    size: sizeFlag('size: 10GiB, 10GB, bytes'),
    for: Flags.string({ description: 'the LUN whose size it has', helpValue: 'LUN' }),
    'block-size': sizeFlag('what takes one write, a power of two from 4KiB to 1MiB; 64KiB when left out'),
    raid: raidFlag()({ description: 'redundancy type of the LUN below; that of the LUN it is for, or raid1, when left out' }),
    ...poolFlag(),
    ...dryRunFlag(),
  }

  override async run(): Promise<WodDetail> {
    const { args, flags } = await this.parse(WodCreate)
    const { pool, name } = parseReference(args.wod, flags.pool, 'wod')
    const { on, path, size, raid } = flags
    const block = flags['block-size']
    const reply = await this.ask(pool, 'owner', 'wod.create', {
      name,
      on,
      dryRun: flags['dry-run'],
      ...(path === undefined ? {} : { path }),
      ...(size === undefined ? {} : { size }),
      ...(raid === undefined ? {} : { raid }),
      ...(flags.for === undefined ? {} : { for: flags.for }),
      ...(block === undefined ? {} : { blockBytes: block }),
    })
    return this.say(
      reply,
      wod =>
        `${flags['dry-run'] ? 'Would create' : 'Created'} write-once device "${wod.name}" on ${wod.on}: ${formatSize(wod.size)}, blocks of ${formatSize(wod.blockBytes)}`,
    )
  }
}

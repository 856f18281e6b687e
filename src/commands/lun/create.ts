import * as Flags from '@oclif/core/flags'
import { formatSize } from '../../core/base/units.ts'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { dryRunFlag, neededArg, poolFlag, raidFlag, sizeOrShareFlag } from '../../core/cli/flags.ts'
import { rangeFlag, stripeFlag } from '../../core/cli/range-flag.ts'
import { parseReference } from '../../core/cli/references.ts'
import { resolveSize, type SizeSpec } from '../../core/cli/sizes.ts'
import { usageError } from '../../core/cli/translate.ts'
import type { LunDetail, PoolService, RaidType } from '../../core/server/api.ts'

export default class LunCreate extends LunarCommand {
  static override summary = 'Create a LUN; it takes space when it is written, unless --reserve'
  static override examples = [
    'lunar lun create tank/mail --size 256MiB --raid raid1',
    'lunar lun create scratch --pool tank --size 10%FREE --raid raid0 --stripe 2',
    'lunar lun create tank/logs --size 64MiB --range 0-16MiB:raid1,16MiB-:raid0 --reserve',
  ]
  static override args = { lun: neededArg('name of the new LUN, or pool/name') }
  static override flags = {
    size: sizeOrShareFlag('size: 10GiB, 10GB, bytes, or 50%FREE of the largest that is possible'),
    raid: raidFlag()({ exactlyOne: ['raid', 'range'] }),
    stripe: stripeFlag(),
    range: rangeFlag(),
    reserve: Flags.boolean({ description: 'take all of the space now', default: false }),
    ...poolFlag(),
    ...dryRunFlag(),
  }

  override async run(): Promise<LunDetail> {
    const { args, flags } = await this.parse(LunCreate)
    const { pool, name } = parseReference(args.lun, flags.pool, 'lun')
    await using service = await this.open(pool, 'owner')
    const stripe = flags.stripe === undefined ? {} : { stripe: flags.stripe }
    const types = flags.raid === undefined ? { ranges: flags.range! } : { raid: flags.raid, ...stripe }
    const size = 'bytes' in flags.size ? flags.size.bytes : await this.shareOf(service, flags.size, flags.raid)
    const reply = await this.waitFor(
      'creating the LUN',
      service.call('lun.create', { name, size, ...types, reserve: flags.reserve, dryRun: flags['dry-run'] }, this.signal),
    )
    return this.say(
      reply,
      lun => `${flags['dry-run'] ? 'Would create' : 'Created'} LUN "${lun.name}": ${formatSize(lun.size)}, ${lun.raid}, ${lun.thin ? 'thin' : 'reserved'}`,
    )
  }

  /** Bytes of a share of what is free. */
  private async shareOf(service: PoolService, share: SizeSpec, raid: RaidType | undefined): Promise<number> {
    if (raid === undefined) throw usageError('Cannot use a share of the free space with --range', 'how much is free depends on the redundancy type', this.name)
    return resolveSize(share, raid, (await service.call('pool.show', {}, this.signal)).data)
  }
}

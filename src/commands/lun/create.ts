import * as Flags from '@oclif/core/flags'
import { formatSize } from '../../core/base/units.ts'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { dryRunFlag, neededArg, poolFlag, raidFlag, sizeOrShareFlag } from '../../core/cli/flags.ts'
import { parseReference } from '../../core/cli/references.ts'
import { resolveSize } from '../../core/cli/sizes.ts'
import type { LunDetail } from '../../core/server/api.ts'

export default class LunCreate extends LunarCommand {
  static override summary = 'Create a LUN; it takes space when it is written, unless --reserve'
  static override examples = [
    'lunar lun create tank/mail --size 256MiB --raid raid1',
    'lunar lun create scratch --pool tank --size 10%FREE --raid raid0',
    'lunar lun create tank/logs --size 64MiB --raid raid1 --reserve',
  ]
  static override args = { lun: neededArg('name of the new LUN, or pool/name') }
  static override flags = {
    size: sizeOrShareFlag('size: 10GiB, 10GB, bytes, or 50%FREE of the largest that is possible'),
    raid: raidFlag()({ required: true }),
    reserve: Flags.boolean({ description: 'take all of the space now', default: false }),
    ...poolFlag(),
    ...dryRunFlag(),
  }

  override async run(): Promise<LunDetail> {
    const { args, flags } = await this.parse(LunCreate)
    const { pool, name } = parseReference(args.lun, flags.pool, 'lun')
    await using service = await this.open(pool, 'owner')
    const size = 'bytes' in flags.size ? flags.size.bytes : resolveSize(flags.size, flags.raid, (await service.call('pool.show', {}, this.signal)).data)
    const reply = await this.waitFor(
      'creating the LUN',
      service.call('lun.create', { name, size, raid: flags.raid, reserve: flags.reserve, dryRun: flags['dry-run'] }, this.signal),
    )
    return this.say(
      reply,
      lun => `${flags['dry-run'] ? 'Would create' : 'Created'} LUN "${lun.name}": ${formatSize(lun.size)}, ${lun.raid}, ${lun.thin ? 'thin' : 'reserved'}`,
    )
  }
}

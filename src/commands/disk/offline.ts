import { LunarCommand } from '../../core/cli/base-command.ts'
import { dryRunFlag, forceFlag, neededArg, poolFlag } from '../../core/cli/flags.ts'
import { diskReference } from '../../core/cli/references.ts'
import type { DiskSummary } from '../../core/server/api.ts'

export default class DiskOffline extends LunarCommand {
  static override summary = 'Take a disk out of service for a while; what it misses is remembered'
  static override examples = [
    'lunar disk offline 1 --pool tank --dry-run',
    'lunar disk offline 1 --pool tank --force=redundancy',
    'lunar disk online 1 --pool tank',
  ]
  static override args = { disk: neededArg('number, path or id of the disk') }
  static override flags = {
    ...forceFlag(['redundancy'], 'although data would be left with less redundancy, or without any copy in service'),
    ...poolFlag(),
    ...dryRunFlag(),
  }

  override async run(): Promise<DiskSummary> {
    const { args, flags } = await this.parse(DiskOffline)
    const { pool, name: disk } = diskReference(args.disk, flags.pool)
    const reply = await this.ask(pool, 'owner', 'disk.offline', { disk, force: flags.force?.includes('redundancy') ?? false, dryRun: flags['dry-run'] })
    return this.say(reply, done => (flags['dry-run'] ? `Would take disk ${done.number} offline` : `Disk ${done.number} is ${done.state}`))
  }
}

import * as Flags from '@oclif/core/flags'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { dryRunFlag, neededArg, poolFlag } from '../../core/cli/flags.ts'
import { diskReference } from '../../core/cli/references.ts'
import { usageError } from '../../core/cli/translate.ts'
import type { DiskSummary } from '../../core/server/api.ts'

export default class DiskLabel extends LunarCommand {
  static override summary = 'Set the failure domain of a disk; copies never share one'
  static override examples = ['lunar disk label 1 --domain rack1 --pool tank', 'lunar disk label 1 --no-domain --pool tank']
  static override args = { disk: neededArg('number, path or id of the disk') }
  static override flags = {
    domain: Flags.string({ description: 'the failure domain: a rack, a controller, a host', helpValue: 'DOMAIN', exclusive: ['no-domain'] }),
    'no-domain': Flags.boolean({ description: 'the disk is a failure domain of its own', default: false }),
    ...poolFlag(),
    ...dryRunFlag(),
  }

  override async run(): Promise<DiskSummary> {
    const { args, flags } = await this.parse(DiskLabel)
    if (flags.domain === undefined && !flags['no-domain'])
      throw usageError('Cannot label the disk: the failure domain is missing', 'one of --domain and --no-domain is needed', this.name)
    const { pool, name: disk } = diskReference(args.disk, flags.pool)
    const reply = await this.ask(pool, 'owner', 'disk.label', { disk, domain: flags.domain ?? null, dryRun: flags['dry-run'] })
    return this.say(reply, done => `${flags['dry-run'] ? 'Would set' : 'Set'} the failure domain of disk ${done.number}: ${done.domain ?? 'its own'}`)
  }
}

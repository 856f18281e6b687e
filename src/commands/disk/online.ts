import * as Flags from '@oclif/core/flags'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { dryRunFlag, neededArg, poolFlag } from '../../core/cli/flags.ts'
import { diskReference } from '../../core/cli/references.ts'
import type { Result } from '../../core/server/api.ts'

export default class DiskOnline extends LunarCommand {
  static override summary = 'Put a disk back into service; only what it missed is copied'
  static override examples = ['lunar disk online 1 --pool tank', 'lunar disk online 1 --path d1.img --pool tank']
  static override args = { disk: neededArg('number, path or id of the disk') }
  static override flags = { path: Flags.string({ description: 'where the disk is now', helpValue: 'FILE' }), ...poolFlag(), ...dryRunFlag() }

  override async run(): Promise<Result<'disk.online'>> {
    const { args, flags } = await this.parse(DiskOnline)
    const { pool, name: disk } = diskReference(args.disk, flags.pool)
    const reply = await this.ask(pool, 'owner', 'disk.online', { disk, ...(flags.path === undefined ? {} : { path: flags.path }), dryRun: flags['dry-run'] })
    return this.say(reply, done => {
      if (flags['dry-run']) return `Would put disk ${done.number} online`
      return `Disk ${done.number} is ${done.state}${done.task === null ? '' : `; task ${done.task} brings it up to date (lunar task wait ${done.task})`}`
    })
  }
}

import * as Flags from '@oclif/core/flags'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { movesText, removalText, waitForRemoval } from '../../core/cli/disk-removal.ts'
import { dryRunFlag, forceFlag, neededArg, poolFlag, progressFlag, sizeFlag, waitFlag, yesFlag } from '../../core/cli/flags.ts'
import { diskReference } from '../../core/cli/references.ts'
import type { Result } from '../../core/server/api.ts'

export default class DiskReplace extends LunarCommand {
  static override summary = 'Put a new disk into a pool in the place of another, which leaves'
  static override description =
    'The same as disk add and disk remove in one. The new disk is in the failure domain of the old one, unless --domain says another. On a terminal it asks.'
  static override examples = [
    'lunar disk replace 3 d5.img --size 1GiB --pool tank --dry-run',
    'lunar disk replace 3 d5.img --size 1GiB --pool tank --wait --yes',
  ]
  static override args = {
    disk: neededArg('number, path or id of the disk that leaves'),
    new: neededArg('image file, block device or NBD URI that comes'),
  }
  static override flags = {
    size: sizeFlag('size of the new disk, when it does not exist yet'),
    domain: Flags.string({ description: 'failure domain of the new disk', helpValue: 'DOMAIN' }),
    ...forceFlag(['overwrite'], 'overwrite what the new disk holds'),
    ...waitFlag(),
    ...progressFlag(),
    ...yesFlag(),
    ...poolFlag(),
    ...dryRunFlag(),
  }

  override async run(): Promise<Result<'disk.replace'>> {
    const { args, flags } = await this.parse(DiskReplace)
    const { pool, name: disk } = diskReference(args.disk, flags.pool)
    const { size, domain } = flags
    const spec = { path: args.new, ...(size === undefined ? {} : { size }), ...(domain === undefined ? {} : { domain }) }
    const params = { disk, with: spec, overwrite: flags.force?.includes('overwrite') ?? false }
    await using service = await this.open(pool, 'owner')
    if (!flags['dry-run'] && !flags.yes) {
      const { data } = await service.call('disk.replace', { ...params, dryRun: true }, this.signal)
      await this.consent(false, `Replace disk ${data.old.number} of pool "${service.pool}" by ${args.new}; ${movesText(data.old.moves)} moves`)
    }
    const reply = await service.call('disk.replace', { ...params, dryRun: flags['dry-run'] }, this.signal)
    if (flags.wait && !flags['dry-run']) await waitForRemoval(service, reply.data.old, what => this.progress(flags.progress, what), this.signal)
    return this.say(reply, done => {
      const by = `disk ${done.new.number} (${done.new.path ?? '-'})`
      if (flags['dry-run']) return `Would add ${by}, take disk ${done.old.number} out of the pool and move ${movesText(done.old.moves)}`
      return `Added ${by}. ${removalText(done.old, flags.wait)}`
    })
  }
}

import { LunarCommand } from '../../core/cli/base-command.ts'
import { movesText, removalText, waitForRemoval } from '../../core/cli/disk-removal.ts'
import { dryRunFlag, failIfUnchangedFlag, neededArg, poolFlag, progressFlag, waitFlag, yesFlag } from '../../core/cli/flags.ts'
import { diskReference } from '../../core/cli/references.ts'
import type { RemovedDisk } from '../../core/server/api.ts'

export default class DiskRemove extends LunarCommand {
  static override summary = 'Take a disk out of a pool for good, once what lies on it is on the others'
  static override description =
    'A disk in service is copied to the others while the pool is used, and nothing is less redundant meanwhile. What a disk that is gone held is made anew from the others. It goes on after a crash. Then the disk is no part of the pool any more, and its label is wiped. On a terminal it asks.'
  static override examples = ['lunar disk remove 3 --pool tank --dry-run', 'lunar disk remove 3 --pool tank --wait --yes']
  static override args = { disk: neededArg('number, path or id of the disk') }
  static override flags = { ...waitFlag(), ...progressFlag(), ...failIfUnchangedFlag(), ...yesFlag(), ...poolFlag(), ...dryRunFlag() }

  override async run(): Promise<RemovedDisk> {
    const { args, flags } = await this.parse(DiskRemove)
    const { pool, name: disk } = diskReference(args.disk, flags.pool)
    await using service = await this.open(pool, 'owner')
    if (!flags['dry-run'] && !flags.yes) {
      // Refused before anybody is asked.
      const { data } = await service.call('disk.remove', { disk, dryRun: true }, this.signal)
      if (data.changed) await this.consent(false, `Take disk ${data.number} out of pool "${service.pool}" for good; ${movesText(data.moves)} moves`)
    }
    const reply = await service.call('disk.remove', { disk, dryRun: flags['dry-run'] }, this.signal)
    if (!reply.data.changed) this.unchanged(`disk ${reply.data.number} is leaving the pool already`, flags['fail-if-unchanged'])
    if (flags.wait && !flags['dry-run']) await waitForRemoval(service, reply.data, what => this.progress(flags.progress, what), this.signal)
    return this.say(reply, done =>
      flags['dry-run'] ? `Would take disk ${done.number} out of the pool and move ${movesText(done.moves)}` : removalText(done, flags.wait),
    )
  }
}

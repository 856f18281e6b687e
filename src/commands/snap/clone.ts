import * as Flags from '@oclif/core/flags'
import { formatSize } from '../../core/base/units.ts'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { dryRunFlag, neededArg, poolFlag, progressFlag, raidFlag, waitFlag } from '../../core/cli/flags.ts'
import { parseReference } from '../../core/cli/references.ts'
import { parseDelay, requireDone } from '../../core/cli/relationship-commands.ts'
import { watchTask } from '../../core/cli/watch-task.ts'
import type { Result } from '../../core/server/api.ts'

export default class SnapClone extends LunarCommand {
  static override summary = 'Make a LUN of its own out of a snapshot, or of a LUN as it is now'
  static override description =
    'The new LUN is read, written, and a source of snapshots and clones at once; its full size is reserved, or the command is refused. A task copies it in the background. When that has ended it depends on nothing, and until then what it is copied from may be deleted all the same.'
  static override examples = [
    'lunar snap clone tank/web@old copy --dry-run',
    'lunar snap clone web@old copy --pool tank --wait',
    'lunar snap clone tank/web second --raid raid0 --delay adaptive',
  ]
  static override args = { source: neededArg('LUN or LUN@NAME, or pool/it'), name: neededArg('name of the new LUN') }
  static override flags = {
    raid: raidFlag()({ description: 'redundancy type of the new LUN; as the source when left out' }),
    delay: Flags.string({ description: 'milliseconds between steps of copying, or adaptive; none when left out', helpValue: 'MS' }),
    ...waitFlag(),
    ...progressFlag(),
    ...poolFlag(),
    ...dryRunFlag(),
  }

  override async run(): Promise<Result<'snap.clone'>> {
    const { args, flags } = await this.parse(SnapClone)
    const { pool, name: source } = parseReference(args.source, flags.pool, 'volume')
    const { name } = parseReference(args.name, pool, 'lun')
    await using service = await this.open(pool, 'owner')
    const reply = await this.waitFor(
      'reserving the space of the clone',
      service.call(
        'snap.clone',
        {
          source,
          name,
          dryRun: flags['dry-run'],
          ...(flags.raid === undefined ? {} : { raid: flags.raid }),
          ...(flags.delay === undefined ? {} : { delay: parseDelay(flags.delay, this.name) }),
        },
        this.signal,
      ),
    )
    const { task } = reply.data
    if (flags.wait && task !== null) requireDone((await watchTask(service, task, this.progress(flags.progress, `copying to ${name}`), this.signal)).data)
    return this.say(reply, ({ size, raid }) => {
      const what = `LUN "${name}", a clone of "${source}": ${formatSize(size)}, ${raid}, reserved`
      if (flags['dry-run']) return `Would create ${what}`
      return `Created ${what}${flags.wait ? '; it is copied' : task === null ? '' : `; task ${task} copies it`}`
    })
  }
}

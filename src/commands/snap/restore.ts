import * as Flags from '@oclif/core/flags'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { disconnectFlag, dryRunFlag, failIfUnchangedFlag, manyArg, poolFlag, progressFlag, waitFlag, yesFlag } from '../../core/cli/flags.ts'
import { parseReferences } from '../../core/cli/references.ts'
import { parseDelay, requireDone } from '../../core/cli/relationship-commands.ts'
import { formatSize } from '../../core/base/units.ts'
import { watchTask } from '../../core/cli/watch-task.ts'
import type { Result } from '../../core/server/api.ts'

const isSnapshot = (volume: string): boolean => volume.includes('@')
/** At the beginning of a sentence. */
const subject = (volume: string): string => `${isSnapshot(volume) ? 'Snapshot' : 'LUN'} "${volume}"`

export default class SnapRestore extends LunarCommand {
  static override summary = 'Make LUNs, or writable snapshots, read as a snapshot of theirs, at once and at one instant'
  static override description =
    'Nothing is lost: what the LUN held before is kept as a snapshot, and newer snapshots stay as they are. A LUN that has another size than the snapshot becomes as large as that, unless --keep-size. What differs is copied back in the background, while the LUN is used. A writable snapshot goes back to a snapshot of its own in the same way. Given again for the same snapshot it goes on with what was stopped. On a terminal it asks.'
  static override examples = [
    'lunar snap restore tank/web@old --dry-run',
    'lunar snap restore web@old --pool tank --keep-before oops --wait --yes',
    'lunar snap restore tank/web@old --keep-size --yes',
  ]
  static override args = { snapshots: manyArg('VOLUME@NAME, or pool/VOLUME@NAME; several volumes are restored at one instant') }
  static override flags = {
    'keep-before': Flags.string({ description: 'name of the snapshot of the state before; before-restore-1 and so on when left out', helpValue: 'NAME' }),
    'keep-size': Flags.boolean({ description: 'a LUN that has grown since the snapshot stays as large as it is, with zeros behind the end of the snapshot' }),
    delay: Flags.string({ description: 'milliseconds between steps of copying back, or adaptive; none when left out', helpValue: 'MS' }),
    ...waitFlag(),
    ...progressFlag(),
    ...failIfUnchangedFlag(),
    ...yesFlag(),
    ...disconnectFlag(),
    ...poolFlag(),
    ...dryRunFlag(),
  }

  override async run(): Promise<Result<'snap.restore'>> {
    const { args, flags } = await this.parse(SnapRestore)
    const { pool, names: snapshots } = parseReferences(args.snapshots as unknown as string[], flags.pool, 'snapshot')
    const { 'keep-before': keepBefore, 'keep-size': keepSize, delay } = flags
    const params = {
      snapshots,
      ...(keepBefore === undefined ? {} : { keepBefore }),
      ...(keepSize ? { keepSize } : {}),
      ...(delay === undefined ? {} : { delay: parseDelay(delay, this.name) }),
    }
    await using service = await this.open(pool, 'owner')
    if (!flags['dry-run']) {
      // Refused before anybody is asked; clients that are to be disconnected are in the way of that, too.
      const due = flags.disconnect
        ? snapshots
        : (await service.call('snap.restore', { ...params, dryRun: true }, this.signal)).data.filter(one => one.changed).map(one => one.snapshot)
      if (due.length > 0) await this.consent(flags.yes, `Restore to ${due.map(name => `"${name}"`).join(', ')} of pool "${service.pool}"`)
    }
    const reply = await service.call('snap.restore', { ...params, disconnect: flags.disconnect, dryRun: flags['dry-run'] }, this.signal)
    for (const { volume, snapshot, changed } of reply.data)
      if (!changed) this.unchanged(`${subject(volume)} is being restored to "${snapshot}" already`, flags['fail-if-unchanged'])
    if (flags.wait && !flags['dry-run'])
      for (const { task, volume } of reply.data)
        if (task !== null) requireDone((await watchTask(service, task, this.progress(flags.progress, `copying back to ${volume}`), this.signal)).data)
    return this.say(reply, restored =>
      restored
        .map(({ snapshot, volume, before, size, was, task }) => {
          const resized = size === was ? '' : `, ${size < was ? 'shrink' : 'grow'} it from ${formatSize(was)} to ${formatSize(size)}`
          if (flags['dry-run'])
            return `Would restore ${isSnapshot(volume) ? 'snapshot' : 'LUN'} "${volume}" to "${snapshot}"${resized}, and keep its state as "${before}"`
          const behind = flags.wait ? 'it is copied back' : task === null ? '' : `it is copied back by task ${task}`
          const now = size === was ? '' : ` and has ${formatSize(size)}, no longer ${formatSize(was)}`
          return `${subject(volume)} reads as "${snapshot}"${now}; its state before is "${before}"${behind === '' ? '' : `; ${behind}`}`
        })
        .join('\n'),
    )
  }
}

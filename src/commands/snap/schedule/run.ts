import { errorTable, isErrorCode } from '../../../core/base/error-table.ts'
import { LunarCommand } from '../../../core/cli/base-command.ts'
import { dryRunFlag, failIfUnchangedFlag, forceFlag, neededArg, poolFlag, progressFlag, waitFlag } from '../../../core/cli/flags.ts'
import { parseReference } from '../../../core/cli/references.ts'
import { writeTable } from '../../../core/cli/table.ts'
import { rotationColumns } from '../../../core/cli/views/snapshot.ts'
import { watchTask } from '../../../core/cli/watch-task.ts'
import type { ScheduleRun } from '../../../core/server/api.ts'

export default class SnapScheduleRun extends LunarCommand {
  static override summary = 'Run a schedule now, whether it is due, paused or served or not'
  static override description =
    'It counts as the run of what is due. When snapshots are taken and their rotation is refused, the command says why and exits as lunar snap rotate would.'
  static override examples = ['lunar snap schedule run tank/hourly --dry-run', 'lunar snap schedule run hourly --pool tank --wait']
  static override args = { schedule: neededArg('the schedule') }
  static override flags = {
    ...forceFlag(['many', 'clock'], 'rotate although more than half would go; or go by the clock although it seems to have jumped'),
    ...waitFlag(),
    ...progressFlag(),
    ...failIfUnchangedFlag(),
    ...poolFlag(),
    ...dryRunFlag(),
  }

  override async run(): Promise<ScheduleRun> {
    const { args, flags } = await this.parse(SnapScheduleRun)
    const { pool, name: schedule } = parseReference(args.schedule, flags.pool, 'schedule')
    const { 'dry-run': dryRun, force } = flags
    await using service = await this.open(pool, 'owner')
    const options = { forceMany: force?.includes('many') ?? false, forceClock: force?.includes('clock') ?? false, dryRun }
    const reply = await service.call('schedule.run', { schedule, ...options }, this.signal)
    const { refused, result, deleted, kept, snapshots, taken, task } = reply.data
    if (result === 'unchanged') this.unchanged('nothing was written since the last snapshots', flags['fail-if-unchanged'])
    if (refused) {
      this.addWarning(`rotation ${dryRun ? 'would be' : 'was'} refused: ${refused.message} [${refused.code}]; ${refused.fix}`)
      if (!dryRun && isErrorCode(refused.code)) this.setStatus(errorTable[refused.code].exit)
    }
    const takenLines = taken.map(name => `${dryRun ? 'Would take' : 'Took'} snapshot "${name}"`)
    if (dryRun) {
      await this.print(() => writeTable(this.around, snapshots, rotationColumns, {}))
      return this.say(reply, () => takenLines.join('\n') || 'Would take nothing')
    }
    if (flags.wait && deleted > 0 && task !== null) await watchTask(service, task, this.progress(flags.progress, 'giving space back'), this.signal)
    return this.say(reply, () =>
      [
        ...takenLines,
        ...snapshots.filter(({ action }) => action === 'delete').map(({ name, reasons }) => `Deleted snapshot "${name}": ${reasons.join(', ')}`),
        `${taken.length} taken, ${deleted} deleted, ${kept} kept`,
      ].join('\n'),
    )
  }
}

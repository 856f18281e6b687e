import * as Flags from '@oclif/core/flags'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { dryRunFlag, failIfUnchangedFlag, forceFlag, manyArg, poolFlag, progressFlag, waitFlag } from '../../core/cli/flags.ts'
import { keepFlags, keepRules, machineZone } from '../../core/cli/keep-rules.ts'
import { parseReferences } from '../../core/cli/references.ts'
import { rotationColumns } from '../../core/cli/views/snapshot.ts'
import { writeTable } from '../../core/cli/table.ts'
import { watchTask } from '../../core/cli/watch-task.ts'
import type { Result } from '../../core/server/api.ts'

export default class SnapRotate extends LunarCommand {
  static override summary = 'Delete the snapshots of volumes that no keep-rule keeps; for cron'
  static override description =
    'Of each of the newest hours, days, … that have a snapshot, the last one is kept. What --keep and --keep-last do not keep goes, and what is older than --older-than. It never asks. It is refused when the clock has jumped, or when more than half would go. Left alone are writable views, and snapshots that something rests on or has open.'
  static override examples = [
    'lunar snap rotate tank/web --keep hourly=24,daily=7,weekly=4 --keep-last 3 --older-than 90d --dry-run',
    "lunar snap rotate web --pool tank --keep daily=30 --only 'auto-*' --wait",
  ]
  static override args = { volumes: manyArg('LUN or writable snapshot, or pool/it; each is rotated by itself, all in one commit') }
  static override flags = {
    ...keepFlags(),
    only: Flags.string({
      description: "look only at snapshots of this name, * and ? stand for anything: 'auto-*'",
      helpValue: 'PATTERN',
      multiple: true,
      multipleNonGreedy: true,
    }),
    except: Flags.string({ description: 'leave snapshots of this name alone', helpValue: 'PATTERN', multiple: true, multipleNonGreedy: true }),
    zone: Flags.string({ description: 'time zone in which days begin; that of the machine when left out', helpValue: 'NAME' }),
    ...forceFlag(['many', 'clock'], 'delete more than half; or go by the clock although it seems to have jumped'),
    ...waitFlag(),
    ...progressFlag(),
    ...failIfUnchangedFlag(),
    ...poolFlag(),
    ...dryRunFlag(),
  }

  override async run(): Promise<Result<'snap.rotate'>> {
    const { args, flags } = await this.parse(SnapRotate)
    const { pool, names: volumes } = parseReferences(args.volumes as unknown as string[], flags.pool, 'volume')
    const { only, except, force, 'dry-run': dryRun } = flags
    const rules = {
      ...keepRules(flags),
      zone: flags.zone ?? machineZone(),
      ...(only ? { only } : {}),
      ...(except ? { except } : {}),
    }
    await using service = await this.open(pool, 'owner')
    const reply = await service.call(
      'snap.rotate',
      { volumes, ...rules, forceMany: force?.includes('many') ?? false, forceClock: force?.includes('clock') ?? false, dryRun },
      this.signal,
    )
    const { refused, deleted, kept, snapshots, task } = reply.data
    if (dryRun) {
      if (refused) this.addWarning(`would be refused: ${refused.message} [${refused.code}]; ${refused.fix}`)
      await this.print(() => writeTable(this.around, snapshots, rotationColumns, {}))
      return this.keep(reply)
    }
    if (deleted === 0) this.unchanged(`no snapshot is to be deleted, ${kept} kept`, flags['fail-if-unchanged'])
    if (flags.wait && deleted > 0 && task !== null) await watchTask(service, task, this.progress(flags.progress, 'giving space back'), this.signal)
    return this.say(reply, () =>
      [
        ...snapshots.filter(({ action }) => action === 'delete').map(({ name, reasons }) => `Deleted snapshot "${name}": ${reasons.join(', ')}`),
        `${deleted} deleted, ${kept} kept`,
      ].join('\n'),
    )
  }
}

import * as Flags from '@oclif/core/flags'
import { LunarCommand } from '../../../core/cli/base-command.ts'
import { dryRunFlag, neededArg, poolFlag } from '../../../core/cli/flags.ts'
import { keepFlags, keepRules, machineZone } from '../../../core/cli/keep-rules.ts'
import { parseReference } from '../../../core/cli/references.ts'
import type { ScheduleDetail } from '../../../core/server/api.ts'

export default class SnapScheduleCreate extends LunarCommand {
  static override summary = 'Have snapshots of LUNs taken and rotated at the times of a cron expression'
  static override description = [
    'The server of the pool runs it (lunar serve), and nobody else. The snapshots of one run are of one instant, named PREFIX-TIME; then those of the schedule are rotated, as lunar snap rotate does.',
    'Where a clock is put forward, a time of day that is skipped comes at the end of the gap; where it is put back, it comes once.',
  ].join('\n')
  static override examples = [
    'lunar snap schedule create tank/hourly --lun db --cron "0 * * * *" --keep hourly=24,daily=7',
    'lunar snap schedule create nightly --pool tank --lun db --lun web --cron "30 2 * * *" --zone Europe/Berlin --keep-last 30 --read-only --dry-run',
  ]
  static override args = { schedule: neededArg('name of the new schedule, or pool/name') }
  static override flags = {
    lun: Flags.string({
      description: 'a LUN; give it again for more, whose snapshots are of one instant',
      required: true,
      multiple: true,
      multipleNonGreedy: true,
      helpValue: 'LUN',
    }),
    cron: Flags.string({
      description: 'when: minute, hour, day, month and weekday, or @hourly, @daily, @weekly, @monthly',
      required: true,
      helpValue: '"0 * * * *"',
    }),
    zone: Flags.string({
      description: 'time zone of these times, and of the days that rules count; that of the machine when left out',
      aliases: ['tz'],
      helpValue: 'NAME',
    }),
    ...keepFlags(),
    prefix: Flags.string({ description: 'snapshots are named PREFIX-TIME; the name of the schedule when left out', helpValue: 'PREFIX' }),
    'read-only': Flags.boolean({ description: 'nobody writes the snapshots', default: false }),
    'catch-up': Flags.option({
      description: 'when runs were missed, since no server had the pool: one run as soon as one has it, or none',
      options: ['once', 'none'] as const,
      default: 'once' as const,
    })(),
    'skip-unchanged': Flags.boolean({ description: 'take nothing when nothing was written to any of the LUNs since the last time', default: false }),
    ...poolFlag(),
    ...dryRunFlag(),
  }

  override async run(): Promise<ScheduleDetail> {
    const { args, flags } = await this.parse(SnapScheduleCreate)
    const { pool, name } = parseReference(args.schedule, flags.pool, 'schedule')
    const reply = await this.ask(pool, 'owner', 'schedule.create', {
      name,
      luns: flags.lun.map(lun => parseReference(lun, pool, 'lun').name),
      cron: flags.cron,
      zone: flags.zone ?? machineZone(),
      ...keepRules(flags),
      ...(flags.prefix === undefined ? {} : { prefix: flags.prefix }),
      readOnly: flags['read-only'],
      catchUp: flags['catch-up'] === 'once',
      skipUnchanged: flags['skip-unchanged'],
      dryRun: flags['dry-run'],
    })
    if (!reply.data.served) this.addWarning(`no server has the pool, so nobody runs it: lunar serve ${pool ?? 'POOL'}`)
    return this.say(
      reply,
      ({ luns, upcoming }) => `${flags['dry-run'] ? 'Would create' : 'Created'} schedule "${name}" of ${luns.join(', ')}, first at ${upcoming[0] ?? 'no time'}`,
    )
  }
}

import { LunarCommand } from '../../../core/cli/base-command.ts'
import { dryRunFlag, neededArg, poolFlag } from '../../../core/cli/flags.ts'
import { parseReference } from '../../../core/cli/references.ts'
import type { Result } from '../../../core/server/api.ts'

export default class SnapScheduleDelete extends LunarCommand {
  static override summary = 'Delete a schedule; its snapshots stay'
  static override examples = ['lunar snap schedule delete tank/nightly --dry-run', 'lunar snap schedule delete nightly --pool tank']
  static override args = { schedule: neededArg('the schedule') }
  static override flags = { ...poolFlag(), ...dryRunFlag() }

  override async run(): Promise<Result<'schedule.delete'>> {
    const { args, flags } = await this.parse(SnapScheduleDelete)
    const { pool, name: schedule } = parseReference(args.schedule, flags.pool, 'schedule')
    const reply = await this.ask(pool, 'owner', 'schedule.delete', { schedule, dryRun: flags['dry-run'] })
    return this.say(reply, ({ name }) => `${flags['dry-run'] ? 'Would delete' : 'Deleted'} schedule "${name}"; its snapshots stay`)
  }
}

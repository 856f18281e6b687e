import { formatSize } from '../../core/base/units.ts'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { dryRunFlag, neededArg, poolFlag, yesFlag } from '../../core/cli/flags.ts'
import { parseReference } from '../../core/cli/references.ts'
import type { Result } from '../../core/server/api.ts'

export default class WodDelete extends LunarCommand {
  static override summary = 'Delete a write-once device, what it holds, and its file'
  static override examples = ['lunar wod delete tank/once --dry-run', 'lunar wod delete tank/once --yes']
  static override args = { wod: neededArg('the write-once device') }
  static override flags = { ...yesFlag(), ...poolFlag(), ...dryRunFlag() }

  override async run(): Promise<Result<'wod.delete'>> {
    const { args, flags } = await this.parse(WodDelete)
    const { pool, name: wod } = parseReference(args.wod, flags.pool, 'wod')
    await using service = await this.open(pool, 'owner')
    if (!flags['dry-run']) {
      const { data } = await service.call('wod.delete', { wod, dryRun: true }, this.signal)
      await this.consent(flags.yes, `Delete write-once device "${data.name}" of pool "${service.pool}" and the ${formatSize(data.written)} it holds`)
    }
    const reply = await service.call('wod.delete', { wod, dryRun: flags['dry-run'] }, this.signal)
    return this.say(reply, done => `${flags['dry-run'] ? 'Would delete' : 'Deleted'} write-once device "${done.name}", which holds ${formatSize(done.written)}`)
  }
}

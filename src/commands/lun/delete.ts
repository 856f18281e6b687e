import { formatSize } from '../../core/base/units.ts'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { dryRunFlag, neededArg, poolFlag, yesFlag } from '../../core/cli/flags.ts'
import { parseReference } from '../../core/cli/references.ts'
import type { Result } from '../../core/server/api.ts'

export default class LunDelete extends LunarCommand {
  static override summary = 'Delete a LUN and what it holds'
  static override examples = ['lunar lun delete tank/archive --dry-run', 'lunar lun delete tank/archive --yes']
  static override args = { lun: neededArg('the LUN') }
  static override flags = { ...yesFlag(), ...poolFlag(), ...dryRunFlag() }

  override async run(): Promise<Result<'lun.delete'>> {
    const { args, flags } = await this.parse(LunDelete)
    const { pool, name: lun } = parseReference(args.lun, flags.pool, 'lun')
    await using service = await this.open(pool, 'owner')
    if (!flags['dry-run'] && !flags.yes) {
      const { data } = await service.call('lun.show', { lun }, this.signal)
      await this.consent(false, `Delete LUN "${data.name}" of pool "${service.pool}" and the ${formatSize(data.bound)} it holds`)
    }
    const reply = await service.call('lun.delete', { lun, dryRun: flags['dry-run'] }, this.signal)
    return this.say(reply, done => {
      if (flags['dry-run']) return `Would delete LUN "${done.name}", which frees ${formatSize(done.freed)}`
      return `Deleted LUN "${done.name}", which frees ${formatSize(done.freed)}${done.task === null ? '' : ` (task ${done.task})`}`
    })
  }
}

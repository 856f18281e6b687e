import { LunarCommand } from '../../core/cli/base-command.ts'
import { dryRunFlag, manyArg, poolFlag } from '../../core/cli/flags.ts'
import { parsePool } from '../../core/cli/references.ts'
import { parseSettings } from '../../core/cli/settings.ts'
import type { Result } from '../../core/server/api.ts'

export default class PoolSet extends LunarCommand {
  static override summary = 'Change settings of a pool'
  static override description = 'pool show prints the settings, and where each value comes from.'
  static override examples = ['lunar pool set tank metadata-copies=3 --dry-run', 'lunar pool set comment=production --pool tank']
  static override usage = 'pool set [POOL] KEY=VALUE...'
  static override args = { settings: manyArg('the pool, if it is not clear, then KEY=VALUE pairs') }
  static override flags = { ...poolFlag(), ...dryRunFlag() }

  override async run(): Promise<Result<'pool.set'>> {
    const { args, flags } = await this.parse(PoolSet)
    const { object, settings } = parseSettings(args.settings as unknown as string[])
    const reply = await this.ask(parsePool(object, flags.pool), 'owner', 'pool.set', { settings, dryRun: flags['dry-run'] })
    return this.say(reply, ({ changed }) => (changed.length === 0 ? 'Nothing to change' : `${flags['dry-run'] ? 'Would set' : 'Set'} ${changed.join(', ')}`))
  }
}

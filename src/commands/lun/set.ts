import { LunarError } from '../../core/base/errors.ts'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { dryRunFlag, manyArg, poolFlag } from '../../core/cli/flags.ts'
import { parseReference } from '../../core/cli/references.ts'
import { parseSettings } from '../../core/cli/settings.ts'
import type { Result } from '../../core/server/api.ts'

export default class LunSet extends LunarCommand {
  static override summary = 'Change settings of a LUN'
  static override description =
    'on-full says what happens when there is no space for a chunk that snapshots of the LUN need: fail-writes, drop (those that need it) or drop-oldest (until there is). iops and bps limit the operations and the bytes a second of all who use the LUN; iops-burst and bps-burst are what goes at once after a pause, a tenth of a second when left out. cache keeps small writes of hosts in memory until they flush or it writes them back, 1 MiB to 4 GiB of it, or off. When the pool is saturated, a LUN has min-iops operations a second before others have more, and the rest is shared by priority: high, normal or low. none takes a limit away. Clients that are connected are held to it from now on. lun show prints the settings, and where each value comes from.'
  static override examples = [
    'lunar lun set tank/db on-full=drop-oldest',
    'lunar lun set tank/db iops=5000 bps=100MiB priority=high',
    'lunar lun set tank/db cache=64MiB',
  ]
  static override usage = 'lun set LUN KEY=VALUE...'
  static override args = { settings: manyArg('the LUN, then KEY=VALUE pairs') }
  static override flags = { ...poolFlag(), ...dryRunFlag() }

  override async run(): Promise<Result<'lun.set'>> {
    const { args, flags } = await this.parse(LunSet)
    const { object, settings } = parseSettings(args.settings as unknown as string[])
    if (object === undefined) throw new LunarError('ERR_USAGE', 'Cannot set anything', { why: 'no LUN is named', fix: 'lunar lun set LUN KEY=VALUE' })
    const { pool, name: lun } = parseReference(object, flags.pool, 'lun')
    const reply = await this.ask(pool, 'owner', 'lun.set', { lun, settings, dryRun: flags['dry-run'] })
    return this.say(reply, ({ changed }) => (changed.length === 0 ? 'Nothing to change' : `${flags['dry-run'] ? 'Would set' : 'Set'} ${changed.join(', ')}`))
  }
}

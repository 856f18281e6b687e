import { LunarError } from '../../core/base/errors.ts'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { dryRunFlag, manyArg, poolFlag } from '../../core/cli/flags.ts'
import { parseReference } from '../../core/cli/references.ts'
import { parseSettings } from '../../core/cli/settings.ts'
import type { Result } from '../../core/server/api.ts'

export default class HostSet extends LunarCommand {
  static override summary = 'Change settings of a host'
  static override description =
    'iops and bps limit the operations and the bytes a second of the host on all volumes that it reaches together; iops-burst and bps-burst are what goes at once after a pause, a tenth of a second when left out. none takes a limit away. Clients that are connected are held to it from now on. host show prints the settings.'
  static override examples = ['lunar host set tank/web1 iops=2000 bps=50MiB', 'lunar host set web1 iops=none --pool tank --dry-run']
  static override usage = 'host set HOST KEY=VALUE...'
  static override args = { settings: manyArg('the host, then KEY=VALUE pairs') }
  static override flags = { ...poolFlag(), ...dryRunFlag() }

  override async run(): Promise<Result<'host.set'>> {
    const { args, flags } = await this.parse(HostSet)
    const { object, settings } = parseSettings(args.settings as unknown as string[])
    if (object === undefined) throw new LunarError('ERR_USAGE', 'Cannot set anything', { why: 'no host is named', fix: 'lunar host set HOST KEY=VALUE' })
    const { pool, name: host } = parseReference(object, flags.pool, 'host')
    const reply = await this.ask(pool, 'owner', 'host.set', { host, settings, dryRun: flags['dry-run'] })
    return this.say(reply, ({ changed }) => (changed.length === 0 ? 'Nothing to change' : `${flags['dry-run'] ? 'Would set' : 'Set'} ${changed.join(', ')}`))
  }
}

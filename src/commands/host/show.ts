import { LunarCommand } from '../../core/cli/base-command.ts'
import { bytesFlag, neededArg, poolFlag } from '../../core/cli/flags.ts'
import { parseReference } from '../../core/cli/references.ts'
import { hostView } from '../../core/cli/views/host.ts'
import type { HostDetail } from '../../core/server/api.ts'

export default class HostShow extends LunarCommand {
  static override summary = 'Show one host and the volumes it reaches'
  static override examples = ['lunar host show tank/web1', 'lunar host show web1 --pool tank --json']
  static override args = { host: neededArg('the host') }
  static override flags = { ...poolFlag(), ...bytesFlag() }

  override async run(): Promise<HostDetail> {
    const { args, flags } = await this.parse(HostShow)
    const { pool, name: host } = parseReference(args.host, flags.pool, 'host')
    return this.details(await this.ask(pool, 'view', 'host.show', { host }), hostView, flags.bytes)
  }
}

import * as Flags from '@oclif/core/flags'
import { LunarCommand } from '../core/cli/base-command.ts'
import { disconnectFlag, dryRunFlag, failIfUnchangedFlag, neededArg, poolFlag } from '../core/cli/flags.ts'
import { parseReference } from '../core/cli/references.ts'
import type { Result } from '../core/server/api.ts'

export default class Unpresent extends LunarCommand {
  static override summary = 'Take a volume from its hosts, or from one of them'
  static override examples = ['lunar unpresent tank/web --host web1 --dry-run', 'lunar unpresent web --pool tank --disconnect']
  static override args = { volume: neededArg('the LUN, the snapshot (db@monday) or the write-once device') }
  static override flags = {
    host: Flags.string({ description: 'the host; all of them when left out', helpValue: 'HOST' }),
    ...disconnectFlag(),
    ...failIfUnchangedFlag(),
    ...poolFlag(),
    ...dryRunFlag(),
  }

  override async run(): Promise<Result<'volume.unpresent'>> {
    const { args, flags } = await this.parse(Unpresent)
    const { pool, name: volume } = parseReference(args.volume, flags.pool, 'volume')
    const host = flags.host === undefined ? {} : { host: flags.host }
    const reply = await this.ask(pool, 'owner', 'volume.unpresent', { volume, ...host, disconnect: flags.disconnect, dryRun: flags['dry-run'] })
    if (!reply.data.changed) this.unchanged(`${volume} is not presented${flags.host === undefined ? '' : ` to ${flags.host}`}`, flags['fail-if-unchanged'])
    return this.say(reply, ({ volume: name, hosts }) =>
      hosts.length === 0 ? `${name} is not presented` : `${name} ${flags['dry-run'] ? 'would no longer be' : 'is no longer'} presented to ${hosts.join(', ')}`,
    )
  }
}

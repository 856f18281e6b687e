import * as Flags from '@oclif/core/flags'
import { LunarCommand } from '../core/cli/base-command.ts'
import { disconnectFlag, dryRunFlag, failIfUnchangedFlag, forceFlag, MIXED, MIXED_ABOUT, neededArg, poolFlag } from '../core/cli/flags.ts'
import { parseReference } from '../core/cli/references.ts'
import type { Result } from '../core/server/api.ts'

export default class Present extends LunarCommand {
  static override summary = 'Let a host reach a LUN, a snapshot or a write-once device'
  static override description =
    'A server (lunar serve) gives it to that host and to no other. One host writes a volume, unless it is shared by all who do: then their file system must be made for that. Presenting it again changes how.'
  static override examples = ['lunar present tank/db --host web1', 'lunar present web@frozen --host web1 --read-only --pool tank']
  static override args = { volume: neededArg('the LUN, the snapshot (db@monday) or the write-once device') }
  static override flags = {
    host: Flags.string({ description: 'the host', required: true, helpValue: 'HOST' }),
    'read-only': Flags.boolean({ description: 'the host may not write it', default: false }),
    shared: Flags.boolean({ description: 'other hosts may write it, too', default: false }),
    ...forceFlag([MIXED], MIXED_ABOUT),
    ...disconnectFlag(),
    ...failIfUnchangedFlag(),
    ...poolFlag(),
    ...dryRunFlag(),
  }

  override async run(): Promise<Result<'volume.present'>> {
    const { args, flags } = await this.parse(Present)
    const { pool, name: volume } = parseReference(args.volume, flags.pool, 'volume')
    const reply = await this.ask(pool, 'owner', 'volume.present', {
      volume,
      host: flags.host,
      readOnly: flags['read-only'],
      shared: flags.shared,
      forceMixed: flags.force?.includes(MIXED) === true,
      disconnect: flags.disconnect,
      dryRun: flags['dry-run'],
    })
    const how = `${flags['read-only'] ? ' read-only' : ''}${flags.shared ? ' shared' : ''}`
    if (!reply.data.changed) this.unchanged(`${volume} is presented to ${flags.host}${how} already`, flags['fail-if-unchanged'])
    return this.say(reply, ({ volume: name, host }) => `${name} ${flags['dry-run'] ? 'would be' : 'is'} presented to ${host}${how}`)
  }
}

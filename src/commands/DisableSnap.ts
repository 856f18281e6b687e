import { LunarCommand } from '../core/cli/base-command.ts'
import { disconnectFlag, dryRunFlag, failIfUnchangedFlag, poolFlag } from '../core/cli/flags.ts'
import { parseRelationships } from '../core/cli/references.ts'
import { noteUnchanged, relationshipsArg } from '../core/cli/relationship-commands.ts'
import { labelOf } from '../core/cli/views/relationship.ts'
import type { Result } from '../core/server/api.ts'

export default class DisableSnap extends LunarCommand {
  static override summary = 'Take relationships out of all I/O; maps and data stay'
  static override description = 'An image that is complete is a LUN of its own then; an incomplete one is refused until it is enabled.'
  static override examples = ['lunar DisableSnap 1 --pool tank', 'lunar DisableSnap tank/nightly tank/2 --dry-run']
  static override args = { relationships: relationshipsArg() }
  static override flags = { ...failIfUnchangedFlag(), ...disconnectFlag(), ...poolFlag(), ...dryRunFlag() }

  override async run(): Promise<Result<'snap.disable'>> {
    const { args, flags } = await this.parse(DisableSnap)
    const { pool, names } = parseRelationships(args.relationships as unknown as string[], flags.pool)
    const reply = await this.ask(pool, 'owner', 'snap.disable', { relationships: names, disconnect: flags.disconnect, dryRun: flags['dry-run'] })
    noteUnchanged(reply.data, 'is disabled already', flags['fail-if-unchanged'], (why, isFailure) => {
      this.unchanged(why, isFailure)
    })
    return this.say(reply, done =>
      done
        .map(one => {
          const image = one.complete ? `"${one.image}" is a LUN of its own` : `"${one.image}" is refused until it is enabled`
          return `${one.changed ? (flags['dry-run'] ? 'Would disable' : 'Disabled') : 'Already disabled:'} ${labelOf(one)}: ${image}`
        })
        .join('\n'),
    )
  }
}

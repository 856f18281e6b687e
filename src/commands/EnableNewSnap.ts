import { disconnectFlag, dryRunFlag, forceFlag, poolFlag } from '../core/cli/flags.ts'
import { EnablingCommand, relationshipsArg } from '../core/cli/relationship-commands.ts'
import type { Result } from '../core/server/api.ts'

export default class EnableNewSnap extends EnablingCommand {
  static override summary = 'Enable relationships afresh: the image is the source as it is now'
  static override description = 'What the image held, its own writes included, is gone; it does not ask.'
  static override examples = ['lunar EnableNewSnap 2 --pool tank', 'lunar EnableNewSnap tank/nightly tank/2 --dry-run']
  static override args = { relationships: relationshipsArg() }
  static override flags = { ...forceFlag(['mixed'], 'take a source of two instants'), ...disconnectFlag(), ...poolFlag(), ...dryRunFlag() }

  override async run(): Promise<Result<'snap.enable'>> {
    const { args, flags } = await this.parse(EnableNewSnap)
    return this.enable(args.relationships as unknown as string[], flags, true)
  }
}

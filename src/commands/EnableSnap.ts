import { failIfUnchangedFlag, disconnectFlag, dryRunFlag, forceFlag, poolFlag } from '../core/cli/flags.ts'
import { EnablingCommand, relationshipsArg } from '../core/cli/relationship-commands.ts'
import type { Result } from '../core/server/api.ts'

export default class EnableSnap extends EnablingCommand {
  static override summary = 'Enable relationships: the image is kept as it was, or taken now when it is the first time'
  static override description = 'Refused when the source was written meanwhile where the image had no copy; the ranges are named.'
  static override examples = ['lunar EnableSnap 2 --pool tank', 'lunar EnableSnap tank/nightly tank/2', 'lunar EnableSnap 1 --pool tank --force=lost-part']
  static override args = { relationships: relationshipsArg() }
  static override flags = {
    ...forceFlag(['lost-part', 'mixed'], 'read the source where the image is lost; take a source of two instants'),
    ...failIfUnchangedFlag(),
    ...disconnectFlag(),
    ...poolFlag(),
    ...dryRunFlag(),
  }

  override async run(): Promise<Result<'snap.enable'>> {
    const { args, flags } = await this.parse(EnableSnap)
    return this.enable(args.relationships as unknown as string[], flags, false)
  }
}

import { LunarCommand } from '../../core/cli/base-command.ts'
import { dryRunFlag, poolFlag, yesFlag } from '../../core/cli/flags.ts'
import { oneRelationship, relationshipArg } from '../../core/cli/relationship-commands.ts'
import { labelOf } from '../../core/cli/views/relationship.ts'
import type { RelationshipView } from '../../core/server/api.ts'

export default class SnapUnconfigure extends LunarCommand {
  static override summary = 'Forget a relationship; its number is never used again'
  static override description = 'Both LUNs stay. An image that is not complete is of no use then, and is marked incomplete; for that it asks.'
  static override examples = ['lunar snap unconfigure 2 --pool tank --dry-run', 'lunar snap unconfigure tank/2 --yes']
  static override args = { relationship: relationshipArg() }
  static override flags = { ...yesFlag(), ...poolFlag(), ...dryRunFlag() }

  override async run(): Promise<RelationshipView> {
    const { args, flags } = await this.parse(SnapUnconfigure)
    const { pool, relationship } = oneRelationship(args.relationship, flags.pool)
    await using service = await this.open(pool, 'owner')
    if (!flags['dry-run'] && !flags.yes) {
      await service.call('snap.unconfigure', { relationship, dryRun: true }, this.signal) // refused before anybody is asked
      const { data } = await service.call('snap.status', { relationship }, this.signal)
      if (data.asOf !== null && data.completePercent < 100)
        await this.consent(false, `Forget ${labelOf(data)} and what its image "${data.image}" holds, of which ${data.completePercent}% is complete`)
    }
    const reply = await service.call('snap.unconfigure', { relationship, dryRun: flags['dry-run'] }, this.signal)
    return this.say(reply, gone => `${flags['dry-run'] ? 'Would forget' : 'Forgot'} ${labelOf(gone)}: "${gone.image}" as the image of "${gone.source}"`)
  }
}

import { LunarCommand } from '../../core/cli/base-command.ts'
import { disconnectFlag, dryRunFlag, neededArg, poolFlag } from '../../core/cli/flags.ts'
import { parseReference } from '../../core/cli/references.ts'
import type { Result } from '../../core/server/api.ts'

export default class LunSwap extends LunarCommand {
  static override summary = 'Let two LUNs change names, so that one takes the place of the other'
  static override description = 'One commit. Data, numbers and relationships stay with the LUN they are of.'
  static override examples = ['lunar lun swap tank/db tank/db-copy', 'lunar lun swap db db-copy --pool tank --dry-run']
  static override args = { lun: neededArg('a LUN'), with: neededArg('the other LUN') }
  static override flags = { ...disconnectFlag(), ...poolFlag(), ...dryRunFlag() }

  override async run(): Promise<Result<'lun.swap'>> {
    const { args, flags } = await this.parse(LunSwap)
    const { pool, name: lun } = parseReference(args.lun, flags.pool, 'lun')
    const other = parseReference(args.with, pool, 'lun').name
    const reply = await this.ask(pool, 'owner', 'lun.swap', { lun, with: other, disconnect: flags.disconnect, dryRun: flags['dry-run'] })
    return this.say(reply, () => `${flags['dry-run'] ? 'Would swap' : 'Swapped'}: "${lun}" is the LUN that was "${other}", and the other way round`)
  }
}

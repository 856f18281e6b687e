import { LunarCommand } from '../../core/cli/base-command.ts'
import { dryRunFlag, neededArg, poolFlag } from '../../core/cli/flags.ts'
import { parseReference } from '../../core/cli/references.ts'
import type { LunDetail } from '../../core/server/api.ts'

export default class LunRename extends LunarCommand {
  static override summary = 'Give a LUN another name'
  static override examples = ['lunar lun rename tank/web shop', 'lunar lun rename shop web --pool tank']
  static override args = { lun: neededArg('the LUN'), name: neededArg('its new name') }
  static override flags = { ...poolFlag(), ...dryRunFlag() }

  override async run(): Promise<LunDetail> {
    const { args, flags } = await this.parse(LunRename)
    const { pool, name: lun } = parseReference(args.lun, flags.pool, 'lun')
    const reply = await this.ask(pool, 'owner', 'lun.rename', { lun, name: args.name, dryRun: flags['dry-run'] })
    return this.say(reply, () => `${flags['dry-run'] ? 'Would rename' : 'Renamed'} LUN "${lun}" to "${args.name}"`)
  }
}

import { LunarCommand } from '../../core/cli/base-command.ts'
import { bytesFlag, neededArg, poolFlag } from '../../core/cli/flags.ts'
import { parseReference } from '../../core/cli/references.ts'
import { wodView } from '../../core/cli/views/wod.ts'
import type { WodDetail } from '../../core/server/api.ts'

export default class WodShow extends LunarCommand {
  static override summary = 'Show one write-once device: what it lies on, what is written'
  static override examples = ['lunar wod show tank/once', 'lunar wod show once --pool tank --json']
  static override args = { wod: neededArg('the write-once device') }
  static override flags = { ...poolFlag(), ...bytesFlag() }

  override async run(): Promise<WodDetail> {
    const { args, flags } = await this.parse(WodShow)
    const { pool, name: wod } = parseReference(args.wod, flags.pool, 'wod')
    return this.details(await this.ask(pool, 'view', 'wod.show', { wod }), wodView, flags.bytes)
  }
}

import type { Result } from '../server/api.ts'
import { LunarCommand } from './base-command.ts'
import { dryRunFlag, failIfUnchangedFlag, neededArg, poolFlag } from './flags.ts'
import { parseReference } from './references.ts'

/** `lun protect`, `lun unprotect`. */
export abstract class ProtectCommand extends LunarCommand {
  static override args = { lun: neededArg('the LUN') }
  static override flags = { ...failIfUnchangedFlag(), ...poolFlag(), ...dryRunFlag() }
  protected abstract readonly protect: boolean

  override async run(): Promise<Result<'lun.protect'>> {
    const { args, flags } = await this.parse(ProtectCommand)
    const { pool, name: lun } = parseReference(args.lun, flags.pool, 'lun')
    const reply = await this.ask(pool, 'owner', 'lun.protect', { lun, protect: this.protect, dryRun: flags['dry-run'] })
    const state = this.protect ? 'protected' : 'not protected'
    if (!reply.data.changed) this.unchanged(`LUN "${lun}" is ${state} already`, flags['fail-if-unchanged'])
    return this.say(reply, () => `LUN "${lun}" ${flags['dry-run'] ? 'would be' : 'is'} ${state}`)
  }
}

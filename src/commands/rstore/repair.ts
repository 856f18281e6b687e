import { errorTable } from '../../core/base/error-table.ts'
import { formatSize } from '../../core/base/units.ts'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { dryRunFlag, neededArg, poolFlag } from '../../core/cli/flags.ts'
import { parseStores } from '../../core/cli/references.ts'
import type { RstoreCheck } from '../../core/server/api.ts'

export default class RstoreRepair extends LunarCommand {
  static override summary = 'Make copies equal to the first readable one, and parity fit its columns, where they differ'
  static override description =
    'Nothing tells which of two copies is right: the choice is the one that resync makes. What one member does not give is made from the others. Exits with 8 when something is lost.'
  static override examples = ['lunar rstore repair tank/db --dry-run', 'lunar rstore repair tank/db/0']
  static override args = { stores: neededArg('the LUN, or LUN/STORE') }
  static override flags = { ...poolFlag(), ...dryRunFlag() }

  override async run(): Promise<RstoreCheck> {
    const { args, flags } = await this.parse(RstoreRepair)
    const { pool, lun, store } = parseStores(args.stores, flags.pool)
    const dryRun = flags['dry-run']
    const reply = await this.ask(pool, 'owner', 'rstore.repair', store === undefined ? { lun, dryRun } : { lun, store, dryRun })
    const check = await this.say(reply, ({ differs, unreadable, repaired, lost }) => {
      const what = `${formatSize(differs + unreadable)} of LUN "${lun}": ${formatSize(differs)} differed, ${formatSize(unreadable)} could not be read on one member`
      const done = dryRun ? `Would repair ${what}` : `Repaired ${what}; ${formatSize(repaired)} written, from the first readable copy or the other members`
      return lost > 0 ? `${done}; ${formatSize(lost)} are on no member and stay as they are` : done
    })
    if (check.lost > 0) this.setStatus(errorTable.ERR_CHECK_FAILED.exit)
    return check
  }
}

import * as Flags from '@oclif/core/flags'
import { LunarCommand } from '../core/cli/base-command.ts'
import { explainCode, explainedColumns, explainedList, explainedView } from '../core/cli/explained.ts'
import { listFlags, optionalArg } from '../core/cli/flags.ts'
import { usageError } from '../core/cli/translate.ts'

const reply = <T>(data: T): { generation: null; data: T; warnings: string[] } => ({ generation: null, data, warnings: [] })

export default class Explain extends LunarCommand {
  static override summary = 'Explain an error code: what it means, its exit status, what to do'
  static override examples = ['lunar explain ERR_POOL_FULL', 'lunar explain --list --sort exit -o code,exit']
  static override args = { code: optionalArg('the code, ERR_POOL_FULL') }
  static override flags = { list: Flags.boolean({ description: 'list all codes', default: false }), ...listFlags() }

  override async run(): Promise<unknown> {
    const { args, flags } = await this.parse(Explain)
    const help = await this.columnsHelp(explainedColumns, flags)
    if (help) return help
    if (flags.list) return this.list(reply(explainedList()), explainedColumns, flags, 'no codes')
    if (args.code === undefined) throw usageError('Cannot explain: the code is missing', 'a code like ERR_POOL_FULL, or --list, is needed', this.name)
    return this.details(reply(explainCode(args.code)), explainedView)
  }
}

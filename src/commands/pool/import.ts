import * as Flags from '@oclif/core/flags'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { dryRunFlag, forceFlag, listFlags, manyArg } from '../../core/cli/flags.ts'
import { importedColumns } from '../../core/cli/views/pool.ts'

export default class PoolImport extends LunarCommand {
  static override summary = 'Find pools by the labels on their disks, and remember where they are'
  static override examples = ['lunar pool import .', 'lunar pool import d1.img d2.img d3.img d4.img --name tank', 'lunar pool import . --dry-run --json']
  static override args = { paths: manyArg('image files, block devices, folders of them, or NBD URIs') }
  static override flags = {
    name: Flags.string({ description: 'import this pool only', helpValue: 'NAME' }),
    'read-only': Flags.boolean({ description: 'look only, write nothing', default: false }),
    choose: Flags.string({ description: 'of a split brain, the side this disk is on', helpValue: 'DISK' }),
    ...forceFlag(['quorum', 'host'], 'open what is left when half or more of the quorum disks are away; take the disks from another host, which is down'),
    ...listFlags(),
    ...dryRunFlag(),
  }

  override async run(): Promise<readonly unknown[]> {
    const { args, flags } = await this.parse(PoolImport)
    const help = await this.columnsHelp(importedColumns, flags)
    if (help) return help
    const front = await this.around.front()
    const reply = await this.waitFor(
      'looking for pools',
      front.importPools({
        paths: args.paths as unknown as string[],
        ...(flags.name === undefined ? {} : { name: flags.name }),
        ...(flags.choose === undefined ? {} : { choose: flags.choose }),
        readOnly: flags['read-only'],
        forceQuorum: flags.force?.includes('quorum') ?? false,
        forceHost: flags.force?.includes('host') ?? false,
        dryRun: flags['dry-run'],
        command: this.typed,
        signal: this.signal,
      }),
    )
    return this.list(reply, importedColumns, flags, 'no pools were found')
  }
}

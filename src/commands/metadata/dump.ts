import { writeFile } from 'node:fs/promises'
import * as Flags from '@oclif/core/flags'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { forceFlag, optionalPoolArg, poolFlag } from '../../core/cli/flags.ts'
import { writeAll } from '../../core/cli/output.ts'
import { parsePool } from '../../core/cli/references.ts'

export default class MetadataDump extends LunarCommand {
  static override summary = 'Print all metadata of a pool as text, one line a record'
  static override examples = ['lunar metadata dump tank', 'lunar metadata dump tank --out tank.txt']
  static override args = { pool: optionalPoolArg() }
  static override flags = {
    out: Flags.string({ description: 'write to a new file instead of stdout', helpValue: 'FILE' }),
    ...forceFlag(['overwrite'], 'overwrite the file'),
    ...poolFlag(),
  }

  override async run(): Promise<{ text: string } | { out: string; bytes: number }> {
    const { args, flags } = await this.parse(MetadataDump)
    const reply = await this.ask(parsePool(args.pool, flags.pool), 'view', 'metadata.dump', {})
    const { text } = this.keep(reply)
    if (flags.out === undefined) {
      await this.print(() => writeAll(this.around.stdout, text))
      return { text }
    }
    await writeFile(flags.out, text, { flag: flags.force?.includes('overwrite') ? 'w' : 'wx' })
    return this.say({ ...reply, warnings: [], data: { out: flags.out, bytes: Buffer.byteLength(text) } }, done => `Wrote ${done.bytes} bytes to ${done.out}`)
  }
}

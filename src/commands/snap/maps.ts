import { writeFile } from 'node:fs/promises'
import * as Flags from '@oclif/core/flags'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { forceFlag, listFlags, poolFlag } from '../../core/cli/flags.ts'
import { oneRelationship, relationshipArg } from '../../core/cli/relationship-commands.ts'
import { labelOf, mapBytes, mapRunColumns, mapRuns } from '../../core/cli/views/relationship.ts'
import type { RelationshipMaps } from '../../core/server/api.ts'

export default class SnapMaps extends LunarCommand {
  static override summary = 'Show the maps of a relationship at one instant: which chunks are migrated, which differ'
  static override description =
    '--json has both bitmaps in base64. --out writes them as they are: migrated, then delta, a bit a chunk, low bit first, each in whole bytes.'
  static override examples = [
    'lunar snap maps 1 --pool tank',
    'lunar snap maps tank/nightly -H --bytes -o offset,length,different',
    'lunar snap maps tank/1 --out maps.bin',
  ]
  static override args = { relationship: relationshipArg() }
  static override flags = {
    out: Flags.string({ description: 'write both bitmaps to a new file', helpValue: 'FILE' }),
    ...forceFlag(['overwrite'], 'overwrite the file'),
    ...poolFlag(),
    ...listFlags(),
  }

  override async run(): Promise<RelationshipMaps | unknown[] | { out: string; bytes: number }> {
    const { args, flags } = await this.parse(SnapMaps)
    const help = await this.columnsHelp(mapRunColumns, flags)
    if (help) return help
    const { pool, relationship } = oneRelationship(args.relationship, flags.pool)
    const reply = await this.ask(pool, 'view', 'snap.maps', { relationship })
    if (flags.out === undefined) {
      await this.list({ ...reply, data: this.jsonEnabled() ? [] : mapRuns(reply.data) }, mapRunColumns, flags, 'no chunks')
      return reply.data
    }
    const { migrated, delta } = mapBytes(reply.data)
    await writeFile(flags.out, [migrated, delta], { flag: flags.force?.includes('overwrite') ? 'w' : 'wx' })
    const data = { out: flags.out, bytes: migrated.length + delta.length }
    return this.say({ ...reply, data }, done => `Wrote the maps of ${labelOf(reply.data)}, ${reply.data.chunks} chunks, to ${done.out}`)
  }
}

import * as Flags from '@oclif/core/flags'
import { LunarError } from '../../core/base/errors.ts'
import { formatSize } from '../../core/base/units.ts'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { dryRunFlag, neededArg, numberFlag, poolFlag, sizeFlag } from '../../core/cli/flags.ts'
import { parseReference } from '../../core/cli/references.ts'
import { labelOf } from '../../core/cli/views/relationship.ts'
import type { RelationshipConfig } from '../../core/server/api.ts'

const BLOCK_BYTES = 512

export default class SnapConfigure extends LunarCommand {
  static override summary = 'Make a LUN the image of another; EnableSnap takes the instant'
  static override description = 'What the image LUN holds is replaced when the relationship is first enabled. It is at least as large as the source.'
  static override examples = [
    'lunar snap configure tank/web tank/web-copy --name weekly',
    'lunar snap configure db archive --pool tank --chunk-blocks 128 --on-full drop --dry-run',
  ]
  static override args = { source: neededArg('the LUN an image is made of'), image: neededArg('the LUN that becomes the image') }
  static override flags = {
    'chunk-size': sizeFlag('unit of copy on first write: a power of two, 4KiB to 1MiB; 32KiB when left out'),
    'chunk-blocks': numberFlag(`the same in blocks of ${BLOCK_BYTES} bytes`),
    name: Flags.string({ description: 'a name beside its number', helpValue: 'NAME' }),
    'on-full': Flags.option({
      description: 'when the image has no room for a chunk: writes to the source fail, or the image is dropped',
      options: ['fail-writes', 'drop'] as const,
      default: 'fail-writes' as const,
    })(),
    ...poolFlag(),
    ...dryRunFlag(),
  }

  override async run(): Promise<RelationshipConfig> {
    const { args, flags } = await this.parse(SnapConfigure)
    const { pool, name: source } = parseReference(args.source, flags.pool, 'lun')
    const image = parseReference(args.image, pool, 'lun').name
    const { 'chunk-size': size, 'chunk-blocks': blocks, name } = flags
    if (size !== undefined && blocks !== undefined)
      throw new LunarError('ERR_USAGE', 'Cannot take two sizes of a chunk', { why: '--chunk-size and --chunk-blocks are given', fix: 'leave one of them out' })
    const chunkBytes = blocks === undefined ? size : blocks * BLOCK_BYTES
    const reply = await this.ask(pool, 'owner', 'snap.configure', {
      source,
      image,
      policy: flags['on-full'],
      dryRun: flags['dry-run'],
      ...(chunkBytes === undefined ? {} : { chunkBytes }),
      ...(name === undefined ? {} : { name }),
    })
    return this.say(
      reply,
      made =>
        `${flags['dry-run'] ? 'Would configure' : 'Configured'} ${labelOf(made)}: "${made.image}" is the image of "${made.source}", in chunks of ${formatSize(made.chunkBytes)}`,
    )
  }
}

import * as Flags from '@oclif/core/flags'
import { systemClock, timeStamp } from '../../core/base/clock.ts'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { dryRunFlag, forceFlag, manyArg, poolFlag, sizeFlag } from '../../core/cli/flags.ts'
import { parseReference, parseReferences } from '../../core/cli/references.ts'
import type { Result } from '../../core/server/api.ts'

export default class SnapCreate extends LunarCommand {
  static override summary = 'Take snapshots of LUNs, all at one instant; nothing is copied'
  static override description =
    'A snapshot db@monday reads as db did at the instant, and is written without changing db. Only what is first written after it takes space. With --of it is one more writable view of a read-only snapshot.'
  static override examples = [
    'lunar snap create tank/web@auto --stamp --read-only',
    'lunar snap create db@before web@before --pool tank --read-only',
    'lunar snap create web@test --of web@frozen --pool tank --dry-run',
  ]
  static override args = { snapshots: manyArg('VOLUME@NAME, or pool/VOLUME@NAME; several are of one instant') }
  static override flags = {
    'read-only': Flags.boolean({ description: 'nobody writes it', default: false }),
    stamp: Flags.boolean({ description: 'add the time to the names, in UTC: db@auto becomes db@auto-20261121T170000Z; for cron', default: false }),
    of: Flags.string({ description: 'make a writable view of this read-only snapshot', helpValue: 'SNAPSHOT' }),
    store: Flags.string({ description: 'where preserved chunks go, for the first snapshot of a volume', helpValue: 'STORE' }),
    'chunk-size': sizeFlag('unit of copy on first write, for the first snapshot of a volume: a power of two, 4KiB to 1MiB; 4KiB when left out'),
    reserve: Flags.boolean({
      description: 'bind space for all of the volume at once: preserving what it holds cannot run out',
      default: false,
      exclusive: ['demand'],
    }),
    demand: Flags.boolean({ description: 'take space as chunks come, which is usual', default: false }),
    'on-full': Flags.option({
      description:
        'when there is no space for a chunk that snapshots of these LUNs need: fail the write, drop those that need it, or the oldest until there is; kept for the LUN',
      options: ['fail-writes', 'drop-oldest', 'drop'] as const,
    })(),
    ...forceFlag(['redundancy'], 'keep chunks in a store that is less redundant than the volume'),
    ...poolFlag(),
    ...dryRunFlag(),
  }

  override async run(): Promise<Result<'snap.create'>> {
    const { args, flags } = await this.parse(SnapCreate)
    const { pool, names: typed } = parseReferences(args.snapshots as unknown as string[], flags.pool, 'snapshot')
    const stamp = timeStamp(systemClock.wallMs())
    const names = flags.stamp ? typed.map(name => `${name}-${stamp}`) : typed
    const { store, 'chunk-size': chunkBytes } = flags
    const reply = await this.ask(pool, 'owner', 'snap.create', {
      snapshots: names,
      readOnly: flags['read-only'],
      reserve: flags.reserve,
      dryRun: flags['dry-run'],
      forceRedundancy: flags.force?.includes('redundancy') ?? false,
      ...(flags.of === undefined ? {} : { of: parseReference(flags.of, pool, 'snapshot').name }),
      ...(flags['on-full'] === undefined ? {} : { onFull: flags['on-full'] }),
      ...(store === undefined ? {} : { store }),
      ...(chunkBytes === undefined ? {} : { chunkBytes }),
    })
    return this.say(reply, made =>
      made
        .map(
          ({ name, writable, of }) =>
            `${flags['dry-run'] ? 'Would create' : 'Created'} snapshot "${name}", ${of === null ? (writable ? 'writable' : 'read-only') : `a view of "${of}"`}`,
        )
        .join('\n'),
    )
  }
}

/** Flags and arguments that commands share. Sizes and numbers are checked here, so commands get numbers. */
import * as Args from '@oclif/core/args'
import * as Flags from '@oclif/core/flags'
import { LunarError } from '../base/errors.ts'
import { parseSize } from '../base/units.ts'
import { parseSizeSpec, type SizeSpec } from './sizes.ts'

export const poolFlag = () => ({
  pool: Flags.string({ description: 'the pool; LUNAR_POOL or the only known pool when left out', helpValue: 'NAME', helpGroup: 'GLOBAL' }),
})
export const dryRunFlag = () => ({ 'dry-run': Flags.boolean({ description: 'go all the way but the last step, and show what would happen', default: false }) })
export const failIfUnchangedFlag = () => ({
  'fail-if-unchanged': Flags.boolean({ description: 'exit with 4 when there was nothing to do', default: false }),
})
export const disconnectFlag = () => ({
  disconnect: Flags.boolean({ description: 'disconnect clients of the server that are in the way, once what they asked for is done', default: false }),
})
export const waitFlag = () => ({
  wait: Flags.boolean({ description: 'wait until the task has ended, and exit as it ended', default: false, allowNo: true }),
})
export const yesFlag = () => ({ yes: Flags.boolean({ char: 'y', description: 'do not ask', default: false }) })
export const bytesFlag = () => ({ bytes: Flags.boolean({ description: 'sizes as whole numbers of bytes', default: false }) })

export const listFlags = () => ({
  output: Flags.string({ char: 'o', description: 'columns: name,size or +used,-id; "help" lists them', helpValue: 'COLUMNS' }),
  sort: Flags.string({ description: 'order: -size,name', helpValue: 'COLUMNS' }),
  'no-header': Flags.boolean({ char: 'H', description: 'no header, tabs between cells', default: false }),
  ...bytesFlag(),
})
export interface ListFlags {
  readonly output?: string | undefined
  readonly sort?: string | undefined
  readonly 'no-header': boolean
  readonly bytes: boolean
}

export const progressFlag = () => ({
  progress: Flags.option({ description: 'how to show progress on stderr', options: ['auto', 'json', 'none'] as const, default: 'auto' as const })(),
})

/** `--force=overwrite`: what is forced is always named; give the flag again for a second thing. */
export const forceFlag = <const T extends readonly string[]>(what: T, description: string) => ({
  force: Flags.option({ description, options: what, multiple: true, multipleNonGreedy: true, helpValue: what.join('|') })(),
})

/** `--force=mixed`: reading and writing what an unfinished update left of two instants. */
export const MIXED = 'mixed'
export const MIXED_ABOUT = 'although an unfinished update left it of two instants'
export const mixedAllowed = (flags: { readonly force?: readonly string[] | undefined }): { mixed?: true } =>
  flags.force?.includes(MIXED) ? { mixed: true } : {}

const size = Flags.custom<number>({ parse: text => attempt(() => parseSize(text)), helpValue: 'SIZE' })
export const sizeFlag = (description: string) => size({ description })
export const neededSizeFlag = (description: string) => size({ description, required: true })
const sizeOrShare = Flags.custom<SizeSpec>({ parse: text => attempt(() => parseSizeSpec(text)), helpValue: 'SIZE' })
export const sizeOrShareFlag = (description: string) => sizeOrShare({ description, required: true })
export const numberFlag = (description: string) => Flags.custom<number>({ parse: text => attempt(() => wholeNumber(text)), helpValue: 'N' })({ description })

export const raidFlag = () => Flags.option({ description: 'redundancy type', options: ['raid0', 'raid1', 'raid5'] as const })

/** Arguments never come from stdin: oclif would read it for a missing one, and stdin carries user data here. */
export const neededArg = (description: string) => Args.string({ description, required: true, ignoreStdin: true })
export const optionalArg = (description: string) => Args.string({ description, ignoreStdin: true })
export const manyArg = (description: string) => Args.string({ description, required: true, multiple: true, ignoreStdin: true })
export const optionalPoolArg = () => Args.string({ name: 'pool', description: 'the pool', ignoreStdin: true })

function wholeNumber(text: string): number {
  if (!/^\d{1,15}$/.test(text))
    throw new LunarError('ERR_USAGE', `Cannot use "${text}" as a number`, { why: `"${text}" is not a whole number`, fix: 'see the same command with --help' })
  return Number(text)
}

function attempt<T>(make: () => T): Promise<T> {
  return new Promise(resolve => resolve(make()))
}

export const rangeFlags = () => ({
  offset: sizeFlag('where to begin, bytes from the start of the LUN, in whole blocks'),
  length: sizeFlag('how many bytes, in whole blocks; to the end of the LUN when left out'),
})
export const verifyFlag = () => ({ verify: Flags.boolean({ description: 'read everything back and compare', default: false }) })

/** Of what a pool keeps of its past, the newest: `pool events`, `pool history`. */
export const pastFlags = (what: string) => ({
  limit: numberFlag(`the newest N ${what} only`),
  after: numberFlag(`${what} with a number above N only`),
})
export const pastParams = ({
  limit,
  after,
}: {
  readonly limit: number | undefined
  readonly after: number | undefined
}): { limit?: number; after?: number } => ({
  ...(limit === undefined ? {} : { limit }),
  ...(after === undefined ? {} : { after }),
})

/** Makes a LunarError of whatever was thrown: usage errors of oclif, errors of the host, bugs. */
import { errnoOf, LunarError } from '../base/errors.ts'
import type { ErrorCode } from '../base/error-table.ts'

const hostCodes: Readonly<Record<string, ErrorCode>> = {
  ENOENT: 'ERR_FILE_NOT_FOUND',
  ENOTDIR: 'ERR_FILE_NOT_FOUND',
  EEXIST: 'ERR_EXISTS',
  ENOSPC: 'ERR_HOST_FULL',
  EDQUOT: 'ERR_HOST_FULL',
  EACCES: 'ERR_HOST_LIMIT',
  EPERM: 'ERR_HOST_LIMIT',
  EMFILE: 'ERR_HOST_LIMIT',
  ENFILE: 'ERR_HOST_LIMIT',
  ENOMEM: 'ERR_HOST_LIMIT',
  EIO: 'ERR_IO',
  EPIPE: 'ERR_PIPE_CLOSED',
}

/** @param typed the command as its user calls it (`lunar lun create`), for messages and for the way to its help */
export function translate(thrown: unknown, typed: string): LunarError {
  if (thrown instanceof LunarError) return unwrapFlag(thrown)
  if (!(thrown instanceof Error)) return new LunarError('ERR_BUG', `${typed} failed: ${String(thrown)}`)
  const inner = original(thrown)
  if (inner !== undefined) return translate(inner, typed)
  if (thrown.name === 'ExitPromptError' || thrown.name === 'AbortError' || thrown.name === 'AbortPromptError') return interrupted(typed)
  if ('oclif' in thrown) return usage(thrown, typed)
  const errno = errnoOf(thrown)
  const code = errno === undefined ? undefined : hostCodes[errno]
  if (code) return new LunarError(code, `${typed} failed: ${oneLine(thrown.message)}`, { cause: thrown })
  const isBug = thrown instanceof TypeError || thrown instanceof RangeError || thrown instanceof ReferenceError || thrown instanceof SyntaxError
  return new LunarError(isBug ? 'ERR_BUG' : 'ERR_FAILED', `${typed} failed: ${oneLine(thrown.message)}`, {
    cause: thrown,
    why: `${thrown.name}${errno ? ` ${errno}` : ''}`,
  })
}

export const interrupted = (typed: string): LunarError => new LunarError('ERR_INTERRUPTED', `${typed} was interrupted`)

/** @returns an ERR_USAGE that points to the help of the command */
export const usageError = (message: string, why: string, typed?: string): LunarError =>
  new LunarError('ERR_USAGE', message, { why, ...(typed === undefined ? {} : { fix: `${typed} --help` }) })

/** The error that came first, when closing something failed after it, or when several failed together. */
function original(error: Error): unknown {
  if (error.name === 'SuppressedError' && 'suppressed' in error) return error.suppressed
  if (error instanceof AggregateError) return error.errors[0]
  return undefined
}

const HELP_HINT = 'See more help with --help'

/** oclif writes its own lines around the message of an error that a flag's parser threw. */
function unwrapFlag(error: LunarError): LunarError {
  const match = /^Parsing (--\S+) \n\t([\s\S]*)\nSee more help with --help$/.exec(error.message)
  if (!match) return error
  return new LunarError(error.code, `${match[2]} (${match[1]})`, { why: error.why, fix: error.fix, blockers: error.blockers, cause: error.cause })
}

/** Every error of oclif's parser is about the command line, whatever exit status it carries. */
function usage(error: Error, typed: string): LunarError {
  const lines = error.message
    .split('\n')
    .map(line => line.trim())
    .filter(line => line !== '' && line !== HELP_HINT && !/^The following errors? occurred:$/.test(line) && !/^Parsing --\S+$/.test(line))
  const [first = 'the arguments are not understood', ...rest] = lines
  return usageError(
    `Cannot run "${typed}": ${first.replace(/:$/, '')}`,
    rest.length > 0 ? rest.map(line => line.replace(/\s{2,}/g, ': ')).join('; ') : 'The command line is not one this command understands.',
    typed,
  )
}

const oneLine = (text: string): string => text.replace(/\s*\n\s*/g, ' ')

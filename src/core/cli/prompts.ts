/** Consent to destroy something: a question on a terminal, `--yes` everywhere else. */
import { LunarError } from '../base/errors.ts'
import type { InputStream, OutputStream, Surroundings } from './surroundings.ts'

export interface Terminal {
  readonly input: InputStream
  readonly output: OutputStream
  /** Takes the question back. */
  readonly signal: AbortSignal
}

export interface Question {
  /** Asks on stderr, so that stdout carries data only. */
  confirm(message: string, terminal: Terminal): Promise<boolean>
  retype(message: string, terminal: Terminal): Promise<string>
}

/** The real questions; the libraries are loaded when one is asked. */
export const terminalQuestion: Question = {
  async confirm(message, terminal) {
    const { default: confirm } = await import('@inquirer/confirm')
    return confirm({ message, default: false }, terminal)
  },
  async retype(message, terminal) {
    const { default: ask } = await import('@inquirer/input')
    return ask({ message }, terminal)
  },
}

/**
 * @param what the sentence before the question mark: `Delete LUN "db" and the 3 GiB it holds`
 * @throws LunarError `ERR_CONFIRM_NEEDED` without a terminal, or when the answer is no
 */
export async function consent(around: Surroundings, signal: AbortSignal, yes: boolean, what: string, question = terminalQuestion): Promise<void> {
  if (yes) return
  requireTerminal(around, what)
  if (!(await question.confirm(`${what}?`, { input: around.stdin, output: around.stderr, signal }))) throw declined(what)
}

/** The same for whole pools: the name must be typed again. */
export async function consentByName(
  around: Surroundings,
  signal: AbortSignal,
  yes: boolean,
  what: string,
  name: string,
  question = terminalQuestion,
): Promise<void> {
  if (yes) return
  requireTerminal(around, what)
  const answer = await question.retype(`${what}? Type its name to go on:`, { input: around.stdin, output: around.stderr, signal })
  if (answer.trim() !== name) throw declined(what)
}

function requireTerminal(around: Surroundings, what: string): void {
  if (around.stdin.isTTY && around.stderr.isTTY) return
  throw new LunarError('ERR_CONFIRM_NEEDED', `Will not ${what.charAt(0).toLowerCase()}${what.slice(1)} without being asked to`)
}

const declined = (what: string): LunarError =>
  new LunarError('ERR_CONFIRM_NEEDED', `Did not ${what.charAt(0).toLowerCase()}${what.slice(1)}`, {
    why: 'the answer was not yes; nothing was changed',
    fix: 'repeat the command, or give --yes',
  })

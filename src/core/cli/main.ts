/** From the words of the command line to a command: help, version, near misses, exit status. */
import { Config } from '@oclif/core/config'
import { LunarError } from '../base/errors.ts'
import type { LunarCommand } from './base-command.ts'
import { envelopeText, errorEnvelope } from './envelope.ts'
import { whileRead, writeAll } from './output.ts'
import { reportError } from './report.ts'
import { processSurroundings, type Surroundings } from './surroundings.ts'
import { nearest } from './nearest.ts'
import { commandName } from './typed.ts'
import { translate } from './translate.ts'

export type CommandClass = { new (argv: string[], config: Config, around?: Surroundings): LunarCommand; id: string }
export type CommandTable = Readonly<Record<string, CommandClass>>

/**
 * Runs one command line.
 *
 * @param argv without node and the program
 * @param config loads oclif's configuration (manifest and package.json), for help
 * @returns the exit status
 */
export async function runLine(
  argv: readonly string[],
  commands: CommandTable,
  config: () => Promise<Config>,
  around: Surroundings = processSurroundings,
): Promise<number> {
  try {
    const words = argv[0] === 'help' ? [...argv.slice(1), '--help'] : [...argv]
    const { id, rest } = findCommand(words, commands)
    const Chosen = id === undefined ? undefined : commands[id]
    if (argv.length === 0 || wantsHelp(words)) return await showHelp(words, id, commands, await config(), around)
    if (argv[0] === '--version') return await print(around, `${(await config()).userAgent}\n`)
    if (id === undefined || !Chosen) return await unknown(words, commands, await config(), around)
    Chosen.id = id
    return await new Chosen(rest, new CommandConfig({ root: '' }), around).execute()
  } catch (thrown) {
    const error = translate(thrown, 'lunar')
    await reportError(around, error)
    return error.exitCode
  }
}

/** All that a command that runs needs of oclif's configuration: there are no plugins and no hooks. Loading the whole of it costs a tenth of a short command. */
class CommandConfig extends Config {
  override bin = 'lunar'
  override runHook(): ReturnType<Config['runHook']> {
    return Promise.resolve({ successes: [], failures: [] })
  }
}

/** The longest command that the first words name: `snap schedule list`, `lun list`, or `explain`; one of a single word in any letter case (`enablesnap`). */
function findCommand(words: readonly string[], commands: CommandTable): { id?: string; rest: string[] } {
  for (const count of [3, 2]) {
    const name = words.slice(0, count).join(':')
    if (words.length >= count && Object.hasOwn(commands, name)) return { id: name, rest: words.slice(count) }
  }
  const word = words[0]?.toLowerCase()
  const id = Object.keys(commands).find(candidate => candidate.toLowerCase() === word && !candidate.includes(':'))
  return id === undefined ? { rest: [...words] } : { id, rest: words.slice(1) }
}

function wantsHelp(words: readonly string[]): boolean {
  const end = words.indexOf('--')
  return (end === -1 ? words : words.slice(0, end)).includes('--help')
}

/** `snap`, and `snap:schedule`. */
function topicsOf(commands: CommandTable): Set<string> {
  const topics = new Set<string>()
  for (const id of Object.keys(commands)) {
    const words = id.split(':')
    topics.add(words[0]!)
    for (let count = 2; count < words.length; count++) topics.add(words.slice(0, count).join(':'))
  }
  return topics
}

/** Help of a command, of a topic, or of everything. */
async function showHelp(words: readonly string[], id: string | undefined, commands: CommandTable, config: Config, around: Surroundings): Promise<number> {
  const subject = words.filter(word => !word.startsWith('-'))
  const topic = subject.join(':')
  if (id === undefined && topic !== '' && !topicsOf(commands).has(topic)) return unknown(words, commands, config, around)
  const { Help } = await import('@oclif/core/help')
  await new Help(config, { all: false }).showHelp(id !== undefined ? [id] : topic !== '' ? [topic] : [])
  return 0
}

/** A topic alone shows its help; anything else is a usage error that names what comes nearest. */
async function unknown(words: readonly string[], commands: CommandTable, config: Config, around: Surroundings): Promise<number> {
  const topics = topicsOf(commands)
  const subject = words.slice(0, topics.has(words.slice(0, 2).join(':')) ? 3 : 2).filter(word => !word.startsWith('-'))
  if (subject.length === words.length && topics.has(subject.join(':'))) return showHelp([...words, '--help'], undefined, commands, config, around)
  const typed = commandName(subject.join(' '))
  const names = Object.keys(commands).map(commandName)
  // What follows a command of one word is its object, and the letter case is nobody's mistake.
  const guesses = [typed, commandName(subject[0] ?? '')].map(words => {
    const lower = nearest(
      words.toLowerCase(),
      names.map(name => name.toLowerCase()),
    )
    return names.find(name => name.toLowerCase() === lower)
  })
  const guess = guesses[0] ?? guesses[1]
  const error = new LunarError('ERR_USAGE', subject.length === 0 ? `There is no command in "lunar ${words.join(' ')}"` : `There is no command "${typed}"`, {
    why: guess === undefined ? 'a command is a noun and a verb: lunar lun list' : `the nearest is "${guess}"`,
    fix: guess === undefined ? 'lunar --help' : `${guess} --help`,
  })
  if (words.includes('--json')) await print(around, envelopeText(errorEnvelope(subject.join(':') || 'lunar', null, error, []), around.stdout.isTTY === true))
  else await reportError(around, error)
  return error.exitCode
}

async function print(around: Surroundings, text: string): Promise<number> {
  await whileRead(writeAll(around.stdout, text))
  return 0
}

/** The command line as a shell would take it, for the lock record, the pool's history and messages. */
export const quoteWord = (word: string): string => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`)

/** @param id oclif's id, `lun:create` */
export const commandName = (id: string): string => `lunar ${id.replaceAll(':', ' ')}`.trimEnd()

export const typedLine = (id: string, argv: readonly string[]): string => [commandName(id), ...argv.map(quoteWord)].join(' ')

/**
 * What every command shares: `--json` envelope, exit status, three-line errors, Ctrl-C, and the way to pools.
 *
 * A command parses, calls one function and hands the reply to `list`, `details` or `say`; what it returns is the `data`
 * of the envelope. SIGINT and SIGTERM abort `this.signal`; a command that could not finish because of it exits with
 * 130 for both (the statuses are frozen, see base/error-table.ts), one that was done already reports its result. A
 * second signal ends the process at once; metadata is crash-safe.
 *
 * A reader of stdout that goes away (`lunar lun list | head -1`) has what it wanted: reports end quietly with status 0.
 * Commands whose stdout is user data fail with ERR_PIPE_CLOSED, because the copy is cut short.
 */
import { Command } from '@oclif/core/command'
import type { Config } from '@oclif/core/config'
import { boolean } from '@oclif/core/flags'
import { LunarError } from '../base/errors.ts'
import { errorTable } from '../base/error-table.ts'
import type { OpenOptions, Params, PoolService, Reply, Result, Verb } from '../server/api.ts'
import { chooseColumns, columnHelp, columnHelpColumns, sortRows, type Column } from './columns.ts'
import { writeDetails, type DetailView } from './details.ts'
import { envelopeText, errorEnvelope, successEnvelope } from './envelope.ts'
import type { ListFlags } from './flags.ts'
import { whileRead, writeAll } from './output.ts'
import { consent, consentByName } from './prompts.ts'
import { progressFor, type Progress, type ProgressMode } from './progress.ts'
import { reportError, reportWarnings } from './report.ts'
import { withSpinner } from './spinner.ts'
import { writeStream } from './stream.ts'
import { processSurroundings, type Surroundings } from './surroundings.ts'
import { writeTable } from './table.ts'
import { interrupted, translate } from './translate.ts'
import { commandName, typedLine } from './typed.ts'

/** A reply, or what a command made without a pool: then there is no generation. */
export type CommandReply<T> = Omit<Reply<T>, 'generation'> & { readonly generation: number | null }

export abstract class LunarCommand extends Command {
  static override enableJsonFlag = true
  static override baseFlags = { json: boolean({ description: 'print one JSON envelope', helpGroup: 'GLOBAL' }) }

  private readonly interrupt = new AbortController()
  private readonly warnings: string[] = []
  private generation: number | null = null
  private status = 0
  private streamed = false

  constructor(
    argv: string[],
    config: Config,
    protected readonly around: Surroundings = processSurroundings,
  ) {
    super(argv, config)
  }

  /** oclif's own way in; skips its second load of the configuration. */
  static override async run<T extends Command>(
    this: new (argv: string[], config: Config) => T,
    argv?: string[],
    options?: unknown,
  ): Promise<ReturnType<T['run']>> {
    const command = new this(argv ?? process.argv.slice(2), options as Config)
    if (command instanceof LunarCommand) process.exitCode = await command.execute()
    return undefined as ReturnType<T['run']>
  }

  /** Runs the command to its end, prints its result or its error. @returns the exit status; rejects only when stderr or stdout itself is broken */
  async execute(): Promise<number> {
    const stopListening = this.around.onStop(() => {
      if (this.interrupt.signal.aborted) this.around.abandon(errorTable.ERR_INTERRUPTED.exit)
      this.interrupt.abort(interrupted(this.name))
    })
    try {
      const data = (await this.run()) as unknown
      await this.finish(data)
    } catch (error) {
      await this.fail(error)
    } finally {
      stopListening()
    }
    return this.status
  }

  /** Aborts on SIGINT and SIGTERM. */
  protected get signal(): AbortSignal {
    return this.interrupt.signal
  }

  /** `lunar lun create`. */
  protected get name(): string {
    return commandName(this.id ?? '')
  }

  /** What the operator typed. */
  protected get typed(): string {
    return typedLine(this.id ?? '', this.argv)
  }

  /** Opens a pool; the caller closes it (`await using`). */
  protected async open(pool: string | undefined, mode: OpenOptions['mode'], options: Omit<OpenOptions, 'mode' | 'command'> = {}): Promise<PoolService> {
    const front = await this.around.front()
    return this.waitFor('opening the pool', front.openService(pool, { signal: this.signal, ...options, mode, command: this.typed }))
  }

  /** Opens a pool, asks it one thing, closes it. */
  protected async ask<V extends Verb>(pool: string | undefined, mode: OpenOptions['mode'], verb: V, params: Params<V>): Promise<Reply<Result<V>>> {
    await using service = await this.open(pool, mode)
    return await this.waitFor(`${this.name.slice('lunar '.length)}`, service.call(verb, params, this.signal))
  }

  /** Shows a spinner on a terminal when `work` takes long. */
  protected waitFor<T>(text: string, work: Promise<T>): Promise<T> {
    return withSpinner(this.around, this.jsonEnabled(), text, work)
  }

  protected progress(mode: ProgressMode, label: string): Progress {
    return progressFor(this.around, mode, this.jsonEnabled(), label)
  }

  protected consent(yes: boolean, what: string): Promise<void> {
    return consent(this.around, this.signal, yes, what)
  }

  protected consentByName(yes: boolean, what: string, name: string): Promise<void> {
    return consentByName(this.around, this.signal, yes, what, name)
  }

  /** Remembers generation and warnings for the envelope. @returns the reply's data */
  protected keep<T>(reply: CommandReply<T>): T {
    this.generation = reply.generation
    this.warnings.push(...reply.warnings)
    return reply.data
  }

  /** Says that there was nothing to do. @throws LunarError `ERR_UNCHANGED` when that is a failure */
  protected unchanged(why: string, isFailure: boolean): void {
    if (isFailure) throw new LunarError('ERR_UNCHANGED', `${this.typed} changed nothing`, { why })
    this.addWarning(`unchanged: ${why}`)
  }

  protected addWarning(warning: string): void {
    this.warnings.push(warning)
  }

  /** Ends with this status although the command did what it should (`pool status --check`). */
  protected setStatus(status: number): void {
    this.status = status
  }

  /**
   * First thing of every list: `-o help` is answered without a pool, and wrong columns are refused before one is opened.
   *
   * @returns the columns when they were asked for
   */
  protected async columnsHelp<Row>(columns: readonly Column<Row>[], flags: ListFlags): Promise<unknown[] | undefined> {
    sortRows([], columns, flags.sort)
    chooseColumns(columns, flags.output === 'help' ? undefined : flags.output)
    if (flags.output !== 'help') return undefined
    const rows = columnHelp(columns)
    await this.print(() => writeTable(this.around, rows, columnHelpColumns, { tabs: flags['no-header'] }))
    return rows
  }

  /** Prints a list as the flags say. @returns the sorted rows, for the envelope */
  protected async list<Row>(reply: CommandReply<readonly Row[]>, columns: readonly Column<Row>[], flags: ListFlags, none: string): Promise<readonly Row[]> {
    const chosen = chooseColumns(columns, flags.output)
    const rows = sortRows(this.keep(reply), columns, flags.sort)
    if (rows.length > 0) await this.print(() => writeTable(this.around, rows, chosen, { tabs: flags['no-header'], bytes: flags.bytes }))
    else if (!flags['no-header'] && !this.jsonEnabled()) await whileRead(writeAll(this.around.stderr, `${none}\n`))
    return rows
  }

  /** Prints rows as they come, with `--json` an object a line and no envelope, until they end or nobody reads them. */
  protected stream<Row>(rows: AsyncIterable<Row>, columns: readonly Column<Row>[], flags: ListFlags): Promise<void> {
    this.streamed = true
    const chosen = chooseColumns(columns, flags.output)
    return writeStream(this.around, rows, chosen, { json: this.jsonEnabled(), tabs: flags['no-header'], bytes: flags.bytes })
  }

  /** Prints one object. @returns its data, for the envelope */
  protected async details<T>(reply: CommandReply<T>, view: (data: T) => DetailView, bytes = false): Promise<T> {
    const data = this.keep(reply)
    await this.print(() => writeDetails(this.around, view(data), bytes))
    return data
  }

  /** Prints a sentence on what was done. @returns the reply's data, for the envelope */
  protected async say<T>(reply: CommandReply<T>, sentence: (data: T) => string): Promise<T> {
    const data = this.keep(reply)
    await this.print(() => writeAll(this.around.stdout, `${sentence(data)}\n`))
    return data
  }

  /** Writes text output; nothing with `--json`, quiet when the reader went away. */
  protected async print(write: () => Promise<void>): Promise<void> {
    if (this.jsonEnabled()) return
    await whileRead(write())
  }

  private async finish(data: unknown): Promise<void> {
    if (!this.jsonEnabled() || this.streamed) return reportWarnings(this.around, this.warnings)
    await this.writeEnvelope(successEnvelope(this.id ?? '', this.generation, data ?? null, this.warnings))
  }

  private async fail(thrown: unknown): Promise<void> {
    const error = this.asLunarError(thrown)
    this.status = error.exitCode
    if (this.jsonEnabled()) return this.writeEnvelope(errorEnvelope(this.id ?? '', this.generation, error, this.warnings))
    await reportWarnings(this.around, this.warnings)
    await reportError(this.around, error)
  }

  /** What fails because of Ctrl-C is an interruption, unless it has a better word for it. */
  private asLunarError(thrown: unknown): LunarError {
    const error = translate(thrown, this.name)
    return this.signal.aborted && error.exitCode !== errorTable.ERR_INTERRUPTED.exit && !(thrown instanceof LunarError) ? interrupted(this.name) : error
  }

  private async writeEnvelope(envelope: Parameters<typeof envelopeText>[0]): Promise<void> {
    await whileRead(writeAll(this.around.stdout, envelopeText(envelope, this.around.stdout.isTTY === true)))
  }
}

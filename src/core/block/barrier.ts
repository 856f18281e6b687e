/** Anything with writes that a flush makes durable: a disk, or a LUN. */
export interface Flushable {
  flush(): Promise<void>
}

export interface DurableNeed<Records> {
  /** What has to be in the journal; its form belongs to whoever implements the barrier. */
  readonly records?: Records
  /** Whose completed writes have to be on stable storage. Each is flushed once a round, however many ask. */
  readonly flush?: readonly Flushable[]
}

/**
 * The one service for everything that must be durable before something else (engine.md section 1, hazard 7). Requests
 * that wait at the same time share one round: all records and all flushes of it go out in parallel.
 */
export interface Barrier<Records = unknown> {
  /**
   * Resolves when everything in `need` is durable; only then may what depends on it be written.
   * @throws LunarError when a round failed; then nothing of it may be relied on, and what depends on it must not be written
   */
  durable(need: DurableNeed<Records>): Promise<void>
}

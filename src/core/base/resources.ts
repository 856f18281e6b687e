/**
 * Owns what was opened, and closes it newest first: the `AsyncDisposableStack` that Node 20 lacks.
 * Every close is tried; several failures come out as one AggregateError.
 */
export class ResourceStack implements AsyncDisposable {
  private closers: (() => Promise<void> | void)[] = []

  use<T extends { close(): Promise<void> | void }>(resource: T): T {
    this.closers.push(() => resource.close())
    return resource
  }

  defer(close: () => Promise<void> | void): void {
    this.closers.push(close)
  }

  /** Hands everything to a new stack, so that leaving the scope closes nothing. */
  move(): ResourceStack {
    const moved = new ResourceStack()
    moved.closers = this.closers
    this.closers = []
    return moved
  }

  async close(): Promise<void> {
    const errors: unknown[] = []
    for (let closer = this.closers.pop(); closer; closer = this.closers.pop()) {
      try {
        await closer()
      } catch (error) {
        errors.push(error)
      }
    }
    if (errors.length === 1) throw errors[0]
    if (errors.length > 1) throw new AggregateError(errors, `${errors.length} resources failed to close`)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

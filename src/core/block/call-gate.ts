/**
 * Keeps calls on one disk from taking all threads of the pool: a disk that hangs stops nobody else (hazard 43).
 * At most `limit` data calls of a disk run at once; the others wait here in their order. Flushes and durable writes do not pass it.
 */
export class CallGate {
  private running = 0
  private readonly waiting: (() => void)[] = []
  private head = 0

  /** @param limit calls at once, at least 1 */
  constructor(readonly limit: number) {}

  /** Runs `start` now or when it is its turn; every `start` is matched by one `leave` when its call has ended. */
  enter(start: () => void): void {
    if (this.running < this.limit) {
      this.running++
      start()
    } else {
      this.waiting.push(start)
    }
  }

  leave(): void {
    const next = this.waiting[this.head]
    if (!next) {
      this.running--
      return
    }
    this.head++
    if (this.head === this.waiting.length || this.head === 1024) {
      this.waiting.splice(0, this.head)
      this.head = 0
    }
    next()
  }

  /** Runs a task inside of the gate. */
  async run<T>(task: () => Promise<T>): Promise<T> {
    await new Promise<void>(resolve => {
      this.enter(resolve)
    })
    try {
      return await task()
    } finally {
      this.leave()
    }
  }
}

/** A quarter of the thread pool (libuv: UV_THREADPOOL_SIZE, 4 when not set, at most 1024), at least 1. */
export function callsPerDisk(environment: NodeJS.ProcessEnv = process.env): number {
  const size = Number.parseInt(environment['UV_THREADPOOL_SIZE'] ?? '', 10)
  return Math.max(1, Math.floor(Math.min(1024, size > 0 ? size : 4) / 4))
}

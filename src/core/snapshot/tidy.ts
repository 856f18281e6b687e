import type { ProcessBody, Step } from '../process/runner.ts'

/** A directory that leaves records behind which mean nothing any more. */
export interface Untidy {
  readonly needsTidying: boolean
  /** Deletes a bounded number of them. @returns whether something is left */
  tidy(): Promise<boolean>
}

/** Gives back what the pool's own reclaim does, and the records of maps that mean nothing any more. */
export class Tidy implements ProcessBody {
  constructor(
    private readonly reclaim: ProcessBody,
    private readonly untidy: readonly Untidy[],
  ) {}

  remaining(): number {
    return this.reclaim.remaining()
  }

  async step(signal: AbortSignal): Promise<Step> {
    for (const one of this.untidy) if (one.needsTidying && (await one.tidy())) return { moved: 0, finished: false }
    const step = await this.reclaim.step(signal)
    // What came up meanwhile is this process's, too: its number was given to whoever caused it.
    return { ...step, finished: step.finished && !this.untidy.some(({ needsTidying }) => needsTidying) }
  }
}

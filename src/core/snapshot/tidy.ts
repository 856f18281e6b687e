import type { ProcessBody, Step } from '../process/runner.ts'
import type { Relationships } from './relationships.ts'

/** Gives back what the pool's own reclaim does, and the records of chunk maps that mean nothing any more. */
export class Tidy implements ProcessBody {
  constructor(
    private readonly reclaim: ProcessBody,
    private readonly relationships: Relationships,
  ) {}

  remaining(): number {
    return this.reclaim.remaining()
  }

  async step(signal: AbortSignal): Promise<Step> {
    if (this.relationships.needsTidying && (await this.relationships.tidy())) return { moved: 0, finished: false }
    return this.reclaim.step(signal)
  }
}

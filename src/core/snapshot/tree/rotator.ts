import { isCode, type LunarError } from '../../base/errors.ts'
import type { Pool } from '../../pool/pool.ts'
import { checkClock, checkMany, checkRules, decideRotation, type Rotated, type RotationRules, type TimeSeen, type Verdict } from './rotation.ts'
import type { Snapshot } from './snapshot.ts'
import type { Trees } from './trees.ts'

export interface Rotation {
  readonly rules: RotationRules
  /** Names of snapshots, without their volume, with `*` and `?`: others are left alone. All when left out. */
  readonly only?: readonly string[]
  /** Names that are left alone. */
  readonly except?: readonly string[]
  /** Deletes more than half. */
  readonly forceMany?: boolean
  /** The clock is right, although it looks as if it had jumped. */
  readonly forceClock?: boolean
  /** The newest snapshots may be old: a new one would have been taken now, had anything changed. */
  readonly unchanged?: boolean
  /** Who wants it, for events. */
  readonly why?: string
  readonly dryRun?: boolean
}

interface RotatedSnapshot extends Rotated {
  readonly one: Snapshot
}

/** What was decided for a volume. */
export interface Rotations {
  readonly volume: string
  readonly verdicts: readonly Verdict<RotatedSnapshot>[]
}

/** Deletes snapshots by keep-rules: the decision and the deletion are one step, so of two that run at once the second finds nothing to do. */
export class Rotator {
  /** When the clock was last believed, and since when: the opening of the pool, or somebody who said that it is right. */
  private believed: { readonly wallMs: number; readonly monotonicMs: number; readonly beforeMs: number }

  constructor(
    private readonly pool: Pool,
    private readonly trees: Trees,
    /** Names of the hosts that reach a snapshot. */
    private readonly hostsOf: (snapshot: Snapshot) => readonly string[],
  ) {
    const { clock } = pool.options
    this.believed = { wallMs: clock.wallMs(), monotonicMs: clock.monotonicMs(), beforeMs: pool.metadata.report.lastWriteMs }
  }

  /** What time it should be. Kept from the opening on: each commit since then has the clock's own time. */
  private get seen(): TimeSeen {
    const { wallMs, monotonicMs, beforeMs } = this.believed
    return { beforeMs, openedMs: wallMs, expectedMs: wallMs + this.pool.options.clock.monotonicMs() - monotonicMs }
  }

  /** Somebody says that the clock is right: it is as long as the pool stays open. */
  private believe(): void {
    const { clock } = this.pool.options
    const wallMs = clock.wallMs()
    this.believed = { wallMs, monotonicMs: clock.monotonicMs(), beforeMs: wallMs }
  }

  /**
   * Decides for the snapshots of some volumes, and deletes in one commit what no rule keeps.
   *
   * @returns what was decided, by volume; and in a dry run what would refuse it
   * @throws LunarError `ERR_CLOCK`, `ERR_TOO_MANY`, `ERR_USAGE`, `ERR_LUN_NOT_FOUND`, `ERR_SNAPSHOT_NOT_FOUND`
   */
  async rotate(
    volumes: readonly string[],
    rotation: Rotation,
  ): Promise<{ readonly rotations: readonly Rotations[]; readonly refused: LunarError | undefined }> {
    checkRules(rotation.rules)
    let rotations: readonly Rotations[] = []
    let refused: LunarError | undefined
    const choose = (): Snapshot[] => {
      const now = this.pool.options.clock.wallMs()
      rotations = [...new Set(volumes)].map(volume => ({ volume, verdicts: decideRotation(this.rotated(volume, rotation), rotation.rules, now) }))
      try {
        for (const { volume, verdicts } of rotations) this.guard(volume, verdicts, rotation, now)
      } catch (error) {
        if (!rotation.dryRun || !(isCode(error, 'ERR_CLOCK') || isCode(error, 'ERR_TOO_MANY'))) throw error
        refused = error as LunarError
      }
      return rotations.flatMap(({ verdicts }) => verdicts.filter(({ keep }) => !keep).map(({ snapshot }) => snapshot.one))
    }
    await this.trees.delete(choose, { dryRun: rotation.dryRun === true, why: rotation.why ?? 'rotation' })
    if (rotation.forceClock && !rotation.dryRun) this.believe()
    return { rotations, refused }
  }

  private guard(volume: string, verdicts: readonly Verdict<RotatedSnapshot>[], rotation: Rotation, now: number): void {
    const looked = verdicts.map(({ snapshot }) => snapshot).filter(({ apart }) => apart === undefined)
    if (looked.length > 0 && !rotation.forceClock) checkClock(volume, looked, rotation.rules, now, this.seen, rotation.unchanged)
    if (!rotation.forceMany) checkMany(volume, verdicts)
  }

  private rotated(volume: string, { only, except }: Rotation): RotatedSnapshot[] {
    return this.trees.directOf(volume).map((one): RotatedSnapshot => {
      const { name } = one.record
      const apart = one.isDropped
        ? 'dropped, since there was no space'
        : one.record.base > 0
          ? 'a writable view'
          : only && !matches(name, only)
            ? 'not among those to rotate'
            : except && matches(name, except)
              ? 'left out of rotation'
              : undefined
      const rests = this.trees.restsOn(one).map(other => other.name)
      const users = [...new Set(one.users)]
      const hosts = this.hostsOf(one)
      const held =
        users.length > 0
          ? `${users.join(', ')} ${users.length === 1 ? 'has' : 'have'} it open`
          : rests.length > 0
            ? `${rests.join(', ')} rests on it`
            : hosts.length > 0
              ? `it is presented to ${hosts.join(', ')}`
              : undefined
      return { one, name: one.name, number: one.number, createdMs: one.record.createdMs, ...(apart ? { apart } : {}), ...(held ? { held } : {}) }
    })
  }
}

/** Whether a name is one of some patterns: `*` stands for any characters, `?` for one. */
export function matches(name: string, patterns: readonly string[]): boolean {
  return patterns.some(pattern => {
    const expression = [...pattern].map(char => (char === '*' ? '.*' : char === '?' ? '.' : char.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'))).join('')
    return new RegExp(`^${expression}$`, 's').test(name)
  })
}

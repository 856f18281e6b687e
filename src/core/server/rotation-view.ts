import { isoTime } from '../base/clock.ts'
import type { LunarError } from '../base/errors.ts'
import type { Rotations } from '../snapshot/tree/rotator.ts'
import type { Result, RotatedSnapshot } from './api.ts'

/** What a rotation decided, for whoever asked for it. */
export function rotationView(rotations: readonly Rotations[], refused: LunarError | undefined): Omit<Result<'snap.rotate'>, 'task'> {
  const snapshots = rotations.flatMap(({ volume, verdicts }) =>
    verdicts.map(({ snapshot: { name, createdMs }, keep: isKept, reasons }): RotatedSnapshot => ({
      name,
      volume,
      created: isoTime(createdMs),
      action: isKept ? 'keep' : 'delete',
      reasons,
    })),
  )
  const deleted = snapshots.filter(({ action }) => action === 'delete').length
  return {
    snapshots,
    deleted,
    kept: snapshots.length - deleted,
    refused: refused ? { code: refused.code, message: `${refused.message}: ${refused.why}`, fix: refused.fix } : null,
  }
}

import { LunarError } from '../../base/errors.ts'

/** What happens when a chunk of a source cannot be preserved, by number in the record of its LUN. Numbers are never used again. */
const snapshotPolicies = ['fail-writes', 'drop', 'drop-oldest'] as const
export type SnapshotPolicy = (typeof snapshotPolicies)[number]

/** @throws LunarError `ERR_USAGE` */
export function policyNumber(text: string): number {
  const found = snapshotPolicies.findIndex(policy => policy === text)
  if (found < 0) throw new LunarError('ERR_USAGE', `Cannot set "on-full" to ${text}`, { why: `it is one of ${snapshotPolicies.join(', ')}` })
  return found
}

/** An unknown one of a newer version is the one that loses nothing. */
export const policyOf = (number: number): SnapshotPolicy => snapshotPolicies[number] ?? 'fail-writes'

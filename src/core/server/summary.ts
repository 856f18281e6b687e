import { isoTime } from '../base/clock.ts'
import type { PoolSummary } from './api.ts'

/** What the list shows of a pool. */
export function toSummary(pool: PoolSummary): PoolSummary {
  const { name, id, health, disks, luns, size, used, free, created } = pool
  return { name, id, health, disks, luns, size, used, free, created }
}

/** What is known of a pool that cannot be opened. */
export const noSummary = (id: string, name: string, disks: number): PoolSummary => ({
  name,
  id,
  health: 'critical',
  disks,
  luns: 0,
  size: 0,
  used: 0,
  free: 0,
  created: isoTime(0),
})

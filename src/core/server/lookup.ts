import { LunarError } from '../base/errors.ts'
import { Registry, type KnownPool } from './registry.ts'

/** The pool that a command means: by name, by id, or the only one there is. */
export function lookUp(pool: string | undefined, registry: Registry = new Registry()): KnownPool {
  if (pool !== undefined && pool.length === 36) {
    const known = registry.get(pool)
    if (known) return known
  }
  const all = registry.list()
  const matching = pool === undefined ? all : all.filter(known => known.name === pool)
  const [only, another] = matching
  if (only && !another) return only
  if (only) {
    const which = pool === undefined ? 'which pool is meant' : `which pool ${pool} is meant`
    throw new LunarError('ERR_POOL_AMBIGUOUS', `Cannot tell ${which}`, {
      why: `${matching.length} are known: ${matching.map(known => (pool === undefined ? known.name : `${known.name} (${known.id})`)).join(', ')}`,
    })
  }
  throw pool === undefined
    ? new LunarError('ERR_POOL_NOT_FOUND', 'Cannot find a pool', { why: 'none is known here' })
    : new LunarError('ERR_POOL_NOT_FOUND', `Cannot find pool ${pool}`, {
        why: all.length === 0 ? 'no pool is known here' : `known are: ${all.map(known => known.name).join(', ')}`,
      })
}

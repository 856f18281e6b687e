import { hiOf } from '../../metadata/key.ts'
import type { Metadata } from '../../metadata/metadata.ts'
import { RSD_STORES, rsdFields } from '../../metadata/records.ts'
import type { PoolDisk } from './pool-disk.ts'
import { regroup, setProblems, type JoiningDisk, type SetPlace } from './sets.ts'

/** Where the disks of a group are now; witnesses have no set. */
export function placesIn(ldad: number, disks: Iterable<PoolDisk>): Map<number, SetPlace> {
  const places = new Map<number, SetPlace>()
  for (const { number, isWitness, record } of disks)
    if (!isWitness && record.ldad === ldad) places.set(number, { set: record.redundancySet, index: record.redundancyIndex })
  return places
}

/** Places in order: those of the disks that join, and of those that move for it or because others leave. */
export function changedPlaces(places: ReadonlyMap<number, SetPlace>, joining: readonly JoiningDisk[], leaving: readonly number[] = []): Map<number, SetPlace> {
  if (joining.length + leaving.length === 0 && setProblems(places).length === 0) return new Map()
  const changed = new Map<number, SetPlace>()
  for (const [disk, place] of regroup(places, { joining, leaving })) {
    const was = places.get(disk)
    if (was?.set !== place.set || was.index !== place.index) changed.set(disk, place)
  }
  return changed
}

/** How many redundant stores have members in several sets: leveling brings them home. Looks at every store. */
export async function countAstride(metadata: Metadata, disks: ReadonlyMap<number, PoolDisk>): Promise<number> {
  let count = 0
  for await (const { value } of metadata.range(hiOf('rsd'), 0, Number.MAX_SAFE_INTEGER, hiOf('rsd', 0xffff_ffff))) {
    for (let i = 0; i < RSD_STORES; i++) {
      const { raid, memberCount, members } = rsdFields.decode(value, i * rsdFields.size)
      if (raid !== 0 && isAstride(members.slice(0, memberCount), disks)) count++
    }
  }
  return count
}

export function isAstride(members: readonly { readonly disk: number }[], disks: ReadonlyMap<number, PoolDisk>): boolean {
  const setOf = ({ disk }: { readonly disk: number }): number | undefined => disks.get(disk)?.record.redundancySet
  return members.some(member => setOf(member) !== setOf(members[0]!))
}

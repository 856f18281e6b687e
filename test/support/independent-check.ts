/**
 * The independent checker (faults.md): reads the disks of a pool as bytes, by the tables in docs/on-disk-format.md, without any
 * code of `src`. Tests call it after every fault.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import type { Reader } from './independent/bytes.ts'
import { SegmentData } from './independent/data.ts'
import { readDisk, type CheckedDisk, type Commit } from './independent/disk.ts'
import { checkDisks, checkLuns, checkSegments, readRecords, type PoolRecords } from './independent/records.ts'
import { chooseState, loadMap } from './independent/tree.ts'

export type { Reader } from './independent/bytes.ts'

export interface CheckOptions {
  /** Takes the newest state although less than half of its members have it. */
  readonly force?: boolean
  /** Compares mirrors and looks at what must be zero; true when left out. */
  readonly data?: boolean
}

export interface CheckedPool extends PoolRecords {
  readonly poolId: string
  readonly state: Commit
  readonly generation: number
  readonly lastWriteMs: number
  /** Closed in good order: nothing was replayed. */
  readonly clean: boolean
  readonly onDisk: readonly CheckedDisk[]
  /** The bytes of a LUN, put together from the disks. */
  lunBytes(name: string): Promise<Buffer>
}

export interface Verdict {
  /** Contradictions: data or space lost, or about to be. */
  readonly problems: readonly string[]
  /** Copies that are wrong or behind while others are right: redundancy lost, nothing else. */
  readonly damage: readonly string[]
  readonly pool: CheckedPool | undefined
}

export async function independentCheck(readers: readonly Reader[], options: CheckOptions = {}): Promise<Verdict> {
  const problems: string[] = []
  const damage: string[] = []
  const disks: CheckedDisk[] = []
  for (const reader of readers) {
    const disk = await readDisk(reader, damage)
    if (disk) disks.push(disk)
    else damage.push(`${reader.name}: no label is whole`)
  }
  const pools = new Set(disks.map(({ label }) => label.poolId))
  if (pools.size > 1) problems.push(`labels: these are disks of ${pools.size} pools`)
  for (const [i, { label }] of disks.entries())
    if (disks.findIndex(other => other.label.diskId === label.diskId) < i) problems.push(`labels: disk ${label.number} is here twice`)
  const state = chooseState(disks, options.force ?? false, problems)
  const loaded = state && (await loadMap(disks, state, problems))
  if (!loaded) return { problems, damage, pool: undefined }

  const poolId = disks[0]!.label.poolId
  const records = readRecords(loaded.records, poolId, problems)
  checkDisks(records, disks, problems)
  checkLuns(records, problems)
  checkSegments(records, loaded.root, problems)
  for (const { disk, address } of loaded.wrongCopies)
    if (records.disks.get(disk)?.state === 'normal') damage.push(`disk ${disk}: its copy of metadata block ${address} is wrong`)
  for (const id of state.members) {
    const member = disks.find(({ label }) => label.diskId === id)
    const head = member?.tail.at(-1) ?? member?.roots[0]
    if (member && (head?.epoch !== state.epoch || head.sequence !== state.sequence))
      damage.push(`disk ${member.label.number}: its copy of the metadata is not the newest`)
  }
  const data = new SegmentData(records, disks)
  if (options.data !== false) {
    await data.checkLegs(problems)
    await data.checkClean(problems)
  }
  const { generation, lastWriteMs, root } = loaded
  const clean = root.clean && loaded.replayed === 0
  return { problems, damage, pool: { ...records, poolId, state, generation, lastWriteMs, clean, onDisk: disks, lunBytes: name => data.lunBytes(name) } }
}

/** Opens image files for the checker, for as long as `use` runs. */
export async function withFiles<T>(paths: readonly string[], use: (readers: Reader[]) => Promise<T>): Promise<T> {
  const fds: number[] = []
  try {
    const readers = paths.map((path): Reader => {
      const fd = openSync(path, 'r')
      fds.push(fd)
      const { size } = fstatSync(fd)
      const read = (offset: number, into: Uint8Array): Promise<void> => {
        if (readSync(fd, into, 0, into.length, offset) !== into.length) return Promise.reject(new Error(`${path} ends before byte ${offset + into.length}`))
        return Promise.resolve()
      }
      return { name: path, size, read }
    })
    return await use(readers)
  } finally {
    for (const fd of fds) closeSync(fd)
  }
}

export const checkFiles = (paths: readonly string[], options?: CheckOptions): Promise<Verdict> =>
  withFiles(paths, readers => independentCheck(readers, options))

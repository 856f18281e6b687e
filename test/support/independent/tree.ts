/** The metadata map as the disks hold it: which state won, its tree, and the journal on top (src/metadata/node.ts, batch.ts). */
import { Block, readAt } from './bytes.ts'
import { readTail, SEGMENT, type CheckedDisk, type Commit, type RootBlock } from './disk.ts'

const BLOCK = 4096
const STORE_UNIT = 2 ** 24
const NODE_HEADER = 64

export interface Entry {
  readonly hi: number
  readonly lo: number
  readonly value: Uint8Array
}

export type Records = Map<string, Entry>
export const keyName = (hi: number, lo: number): string => `${hi}:${lo}`

/** A copy of a block that is not what the pointer says, beside a copy that is. */
export interface WrongCopy {
  readonly disk: number
  readonly address: number
}

const supports = (disk: CheckedDisk, commit: Commit): boolean => (disk.reach.get(commit.epoch) ?? -1) >= commit.sequence
const isNewer = (a: Commit, b: Commit): number => b.epochNumber - a.epochNumber || b.sequence - a.sequence

/** The newest state that more than half of its own members hold; with `force` the newest of all. */
export function chooseState(disks: readonly CheckedDisk[], force: boolean, problems: string[]): Commit | undefined {
  const states: Commit[] = disks.flatMap(disk => [...disk.roots, ...disk.tail]).sort(isNewer)
  const isHeld = (state: Commit): boolean =>
    state.members.filter(id => disks.some(disk => disk.label.diskId === id && supports(disk, state))).length * 2 > state.members.length
  const winner = force ? states[0] : states.find(isHeld)
  if (!winner) {
    problems.push('quorum: no state is on more than half of its members')
    return undefined
  }
  const holders = disks.filter(disk => supports(disk, winner))
  const other = force ? undefined : states.find(state => isHeld(state) && !holders.some(disk => supports(disk, state)))
  if (other)
    problems.push(
      `split: epoch ${other.epochNumber} sequence ${other.sequence} is held too and does not lead to epoch ${winner.epochNumber} sequence ${winner.sequence}`,
    )
  return winner
}

export interface LoadedMap {
  readonly root: RootBlock
  readonly records: Records
  readonly generation: number
  readonly lastWriteMs: number
  readonly replayed: number
  readonly wrongCopies: readonly WrongCopy[]
}

/** Loads the records of a state: the tree of the newest root that does not go beyond it, then the journal up to it. */
export async function loadMap(disks: readonly CheckedDisk[], state: Commit, problems: string[]): Promise<LoadedMap | undefined> {
  const sources = disks.flatMap(disk => {
    const root = disk.roots.find(candidate => candidate.epoch === state.epoch && candidate.sequence <= state.sequence)
    return root ? [{ disk, root }] : []
  })
  sources.sort((a, b) => b.root.sequence - a.root.sequence)
  for (const { disk, root } of sources) {
    const tail = (await readTail(disk.reader, disk.label, root)).filter(block => block.sequence <= state.sequence)
    if (root.sequence + tail.length !== state.sequence) continue
    const walk = new TreeWalk(disks, root, disk.label.poolId, problems)
    await walk.run()
    for (const block of tail) replay(block.payload, block.batches, walk.records, problems)
    return {
      root,
      records: walk.records,
      generation: tail.at(-1)?.generation ?? root.generation,
      lastWriteMs: root.timeMs,
      replayed: tail.length,
      wrongCopies: walk.wrongCopies,
    }
  }
  problems.push(`journal: no disk leads from a root to epoch ${state.epochNumber} sequence ${state.sequence}`)
  return undefined
}

/** Walks the tree of a root; every block is reached once, every copy of it looked at. */
class TreeWalk {
  readonly records: Records = new Map()
  readonly wrongCopies: WrongCopy[] = []
  private readonly visited = new Set<number>()

  constructor(
    private readonly disks: readonly CheckedDisk[],
    private readonly root: RootBlock,
    private readonly poolId: string,
    private readonly problems: string[],
  ) {}

  async run(): Promise<void> {
    const { tree } = this.root
    if (tree) await this.walk(tree.address, tree.crc, tree.level, [0, 0], [Infinity, 0])
  }

  private async walk(address: number, crc: number, level: number, from: readonly [number, number], to: readonly [number, number]): Promise<void> {
    if (this.visited.has(address)) return void this.problems.push(`tree: block ${address} is reached twice`)
    this.visited.add(address)
    const block = await this.read(address, crc)
    if (!block) return
    if (block.u8(40) !== level) return void this.problems.push(`tree: block ${address} is of level ${block.u8(40)}, not ${level}`)
    let at = NODE_HEADER
    let last: readonly [number, number] | undefined
    const children: { key: readonly [number, number]; address: number; crc: number }[] = []
    for (let i = 0; i < block.u16(42); i++) {
      const key = [block.u64(at), block.u64(at + 8)] as const
      if (last && !isBelow(last, key)) this.problems.push(`tree: keys of block ${address} are out of order`)
      // The first child's bound may be above keys that were put below it later; its entries are still below the next bound.
      if (level === 0 && (isBelow(key, from) || !isBelow(key, to)))
        this.problems.push(`tree: key ${key.join('.')} of block ${address} lies outside of its parent's range`)
      last = key
      if (level === 0) {
        const length = block.u16(at + 16)
        this.records.set(keyName(...key), { hi: key[0], lo: key[1], value: block.bytes.slice(at + 18, at + 18 + length) })
        at += 18 + length
      } else {
        children.push({ key, address: block.u64(at + 16), crc: block.u32(at + 24) })
        at += 28
      }
    }
    for (const [i, child] of children.entries()) await this.walk(child.address, child.crc, level - 1, i === 0 ? from : child.key, children[i + 1]?.key ?? to)
  }

  private async read(address: number, crc: number): Promise<Block | undefined> {
    const store = this.root.stores.find(({ id }) => id === Math.floor(address / STORE_UNIT))
    const index = address % STORE_UNIT
    if (!store || index >= (store.segments * SEGMENT) / BLOCK) return void this.problems.push(`tree: block ${address} lies outside of the metadata stores`)
    let good: Block | undefined
    const wrong: number[] = []
    for (const place of store.places) {
      const disk = this.disks.find(({ label }) => label.number === place.disk)
      if (!disk) continue
      const at = disk.label.segmentsAt + place.segment * SEGMENT + index * BLOCK
      const block = at + BLOCK <= disk.reader.size ? new Block(await readAt(disk.reader, at, BLOCK)) : undefined
      if (block?.is('NODE') && block.u32(0) === crc && block.id(8) === this.poolId && block.u64(24) === address) good ??= block
      else wrong.push(place.disk)
    }
    if (!good) return void this.problems.push(`tree: no copy of block ${address} is whole`)
    this.wrongCopies.push(...wrong.map(disk => ({ disk, address })))
    return good
  }
}

const isBelow = (a: readonly [number, number], b: readonly [number, number]): boolean => a[0] < b[0] || (a[0] === b[0] && a[1] < b[1])

/** Batches: u32 length, u32 count, then ops: u8 kind (1 put, 2 delete, 3 patch, 4 bits: mask and bits of one byte), u8, u16 length, u16 at, u16 size, u64 hi, u64 lo, value. */
function replay(payload: Uint8Array, batches: number, records: Records, problems: string[]): void {
  const block = new Block(payload)
  let at = 0
  for (let batch = 0; batch < batches; batch++) {
    const end = at + 8 + block.u32(at)
    const count = block.u32(at + 4)
    at += 8
    for (let i = 0; i < count; i++) {
      const [op, length, patchAt, size] = [block.u8(at), block.u16(at + 2), block.u16(at + 4), block.u16(at + 6)]
      const [hi, lo] = [block.u64(at + 8), block.u64(at + 16)]
      const value = payload.slice(at + 24, at + 24 + length)
      at += 24 + length
      const name = keyName(hi, lo)
      if (op === 2) records.delete(name)
      else if (op === 1) records.set(name, { hi, lo, value })
      else {
        const old = records.get(name)?.value ?? new Uint8Array()
        const patched = new Uint8Array(Math.max(size, old.length))
        patched.set(old)
        if (op === 4) patched[patchAt] = (patched[patchAt]! & ~value[0]!) | value[1]!
        else patched.set(value, patchAt)
        records.set(name, { hi, lo, value: patched })
      }
    }
    if (at !== end) problems.push('journal: the lengths of a batch contradict each other')
    at = end
  }
}

/** Labels, roots and journal of one disk, read by their byte tables (src/metadata/label.ts, root.ts, journal.ts; docs/on-disk-format.md). */
import { Block, checksum, readAt, type Reader } from './bytes.ts'

const BLOCK = 4096
export const SEGMENT = 2 * 1024 * 1024
const ROOTS_AT = 65536
const ROOT_COUNT = 128
export const JOURNAL_AT = ROOTS_AT + ROOT_COUNT * BLOCK
const JOURNAL_HEADER = 256
const NIL = '0'.repeat(32)

export interface DiskLabel {
  readonly generation: number
  readonly poolId: string
  readonly diskId: string
  readonly poolName: string
  readonly number: number
  readonly witness: boolean
  readonly size: number
  readonly journalRoom: number
  readonly ownersAt: number
  readonly segmentsAt: number
  readonly segmentCount: number
}

/** A place on the line of commits. */
export interface Commit {
  readonly epoch: string
  readonly epochNumber: number
  readonly sequence: number
  readonly members: readonly string[]
}

export interface RootBlock extends Commit {
  readonly number: number
  readonly clean: boolean
  readonly generation: number
  readonly timeMs: number
  readonly tree: { readonly level: number; readonly address: number; readonly crc: number } | undefined
  readonly journalSize: number
  readonly adminStart: number
  readonly dataStart: number
  readonly stores: readonly {
    readonly id: number
    readonly segments: number
    readonly places: readonly { readonly disk: number; readonly segment: number }[]
  }[]
}

export interface JournalEntry extends Commit {
  readonly generation: number
  readonly payload: Uint8Array
  readonly batches: number
}

/** One disk as its own bytes describe it. */
export interface CheckedDisk {
  readonly reader: Reader
  readonly label: DiskLabel
  /** Newest first. */
  readonly roots: readonly RootBlock[]
  readonly tail: readonly JournalEntry[]
  /** Highest sequence of each epoch that this disk holds or descends from. */
  readonly reach: ReadonlyMap<string, number>
}

const endOf = (size: number): number => Math.floor(size / BLOCK) * BLOCK - BLOCK

function decodeLabel(bytes: Uint8Array, address: number): DiskLabel | undefined {
  const block = new Block(bytes)
  if (!block.is('LABL') || block.text(8, 8) !== 'LUNAR' || block.u64(32) !== address) return undefined
  return {
    generation: block.u64(40),
    poolId: block.id(48),
    diskId: block.id(64),
    poolName: block.text(80, 64),
    number: block.u32(176),
    witness: (block.u16(186) & 1) !== 0,
    size: block.u64(192),
    journalRoom: block.u64(208),
    ownersAt: block.u64(216),
    segmentsAt: block.u64(224),
    segmentCount: block.u64(232),
  }
}

/** @param damage is told what is wrong with one copy while another is whole */
async function readLabel(reader: Reader, damage: string[]): Promise<DiskLabel | undefined> {
  if (reader.size < 2 * BLOCK) return undefined
  const front = decodeLabel(await readAt(reader, 0, BLOCK), 0)
  const endAt = endOf(front?.size ?? reader.size)
  const end = endAt + BLOCK <= reader.size ? decodeLabel(await readAt(reader, endAt, BLOCK), endAt) : undefined
  const newest = front && end ? (front.generation >= end.generation ? front : end) : (front ?? end)
  if (!newest) return undefined
  if (reader.size < newest.size) damage.push(`${reader.name}: is shorter than its label says`)
  if (!front) damage.push(`${reader.name}: the first label is damaged`)
  if (!end) damage.push(`${reader.name}: the second label is damaged`)
  if (front && end && front.generation !== end.generation)
    damage.push(`${reader.name}: its labels are of generations ${front.generation} and ${end.generation}`)
  return newest
}

function decodeRoot(bytes: Uint8Array, address: number, label: DiskLabel): RootBlock | undefined {
  const block = new Block(bytes)
  if (!block.is('ROOT') || block.id(8) !== label.poolId || block.id(24) !== label.diskId || block.u64(40) !== address) return undefined
  const number = block.u64(120)
  if (ROOTS_AT + (number % ROOT_COUNT) * BLOCK !== address) return undefined
  const treeAddress = block.u64(368)
  const stores = Array.from({ length: block.u32(400) }, (_, i) => {
    const at = 512 + 40 * i
    const places = Array.from({ length: block.u16(at + 6) }, (_place, p) => ({ disk: block.u32(at + 8 + 8 * p), segment: block.u32(at + 12 + 8 * p) }))
    return { id: block.u32(at), segments: block.u16(at + 4), places }
  })
  return {
    epoch: block.id(48),
    epochNumber: block.u64(64),
    sequence: block.u64(96),
    members: block.ids(136, block.u32(132)),
    number,
    clean: (block.u32(128) & 1) !== 0,
    generation: block.u64(104),
    timeMs: block.u64(112),
    tree: treeAddress === 0 ? undefined : { level: block.u32(364), address: treeAddress, crc: block.u32(376) },
    journalSize: block.u32(380),
    adminStart: block.u64(384),
    dataStart: block.u64(392),
    stores,
  }
}

/** Where a root says that its line came from: the parent of its epoch, and ends of memberships long ago. */
function ancestors(bytes: Uint8Array): [string, number][] {
  const block = new Block(bytes)
  const found: [string, number][] = [[block.id(72), block.u64(88)]]
  for (let i = 0; i < 7; i++) found.push([block.id(3840 + 32 * i), block.u64(3840 + 32 * i + 24)])
  return found.filter(([epoch]) => epoch !== NIL)
}

/** The block of the root's epoch at a byte of the journal, with where it ends. */
async function journalBlock(reader: Reader, at: number, to: number, label: DiskLabel, root: RootBlock): Promise<(JournalEntry & { end: number }) | undefined> {
  if (at + BLOCK > to) return undefined
  const first = new Block(await readAt(reader, JOURNAL_AT + at, BLOCK))
  if (!first.is('JRNL', JOURNAL_HEADER) || first.id(8) !== label.poolId || first.id(24) !== label.diskId || first.u64(40) !== at || first.id(48) !== root.epoch)
    return undefined
  const length = first.u32(96)
  const end = at + Math.ceil((JOURNAL_HEADER + length) / BLOCK) * BLOCK
  if (end > to) return undefined
  const payload = await readAt(reader, JOURNAL_AT + at + JOURNAL_HEADER, length)
  if (checksum(payload, 0) !== first.u32(100)) return undefined
  const members = first.ids(112, first.u8(109))
  return {
    epoch: root.epoch,
    epochNumber: root.epochNumber,
    sequence: first.u64(64),
    generation: first.u64(72),
    batches: first.u32(104),
    members,
    payload,
    end,
  }
}

/** The blocks after a root: looked for by their number, at the head of each stream and at its start. */
export async function readTail(reader: Reader, label: DiskLabel, root: RootBlock): Promise<JournalEntry[]> {
  const quarter = root.journalSize / 4
  const streams = [
    { head: root.adminStart, from: 0, to: quarter },
    { head: root.dataStart, from: quarter, to: root.journalSize },
  ]
  const seen = new Map<number, Awaited<ReturnType<typeof journalBlock>>>()
  const blockAt = async (at: number, to: number): ReturnType<typeof journalBlock> => {
    if (!seen.has(at)) seen.set(at, await journalBlock(reader, at, to, label, root))
    return seen.get(at)
  }
  const tail: JournalEntry[] = []
  for (let wanted = root.sequence + 1; ; wanted++) {
    let found: Awaited<ReturnType<typeof journalBlock>>
    for (const stream of streams) {
      for (const at of [stream.head, stream.from]) {
        const block = await blockAt(at, stream.to)
        if (found || block?.sequence !== wanted) continue
        found = block
        stream.head = block.end
      }
    }
    if (!found) return tail
    tail.push(found)
  }
}

/** @returns undefined for what carries no whole label */
export async function readDisk(reader: Reader, damage: string[]): Promise<CheckedDisk | undefined> {
  const label = await readLabel(reader, damage)
  if (!label || reader.size < JOURNAL_AT) return undefined
  const roots: RootBlock[] = []
  const reach = new Map<string, number>()
  const reached = (epoch: string, sequence: number): void => {
    reach.set(epoch, Math.max(reach.get(epoch) ?? -1, sequence))
  }
  for (let i = 0; i < ROOT_COUNT; i++) {
    const address = ROOTS_AT + i * BLOCK
    const bytes = await readAt(reader, address, BLOCK)
    const root = decodeRoot(bytes, address, label)
    if (!root) {
      if (!new Block(bytes).isZero) damage.push(`${reader.name}: root place ${i} is damaged`)
      continue
    }
    roots.push(root)
    reached(root.epoch, root.sequence)
    for (const [epoch, sequence] of ancestors(bytes)) reached(epoch, sequence)
  }
  roots.sort((a, b) => b.epochNumber - a.epochNumber || b.number - a.number)
  const tail = roots[0] ? await readTail(reader, label, roots[0]) : []
  for (const { epoch, sequence } of tail) reached(epoch, sequence)
  return { reader, label, roots, tail, reach }
}

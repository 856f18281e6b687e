import { crc32c } from '../core/base/crc32c.ts'
import { invariant } from '../core/base/errors.ts'
import { alignUp } from '../core/base/units.ts'
import { NIL_UUID } from '../core/base/uuid.ts'
import { decodeBatch, encodeBatch, type Batch } from './batch.ts'
import { isSealed, sealBlock } from './block.ts'
import { BLOCK, journalStreams } from './layout.ts'
import { MEMBERS_MAX, memberFields } from './root.ts'
import { list, struct, u32, u64, u8, uuid } from './struct.ts'

export type StreamName = 'admin' | 'data'

/** Header of a journal block; the payload of whole batches follows, then zeros to a multiple of 4096 bytes. */
export const journalFields = struct('journalHeader', 256, {
  crc: u32(0, 'crc32c of bytes 4..255, seeded with the kind'),
  magic: u32(4, 'JRNL'),
  poolId: uuid(8, 'pool'),
  diskId: uuid(24, 'disk this copy was meant for'),
  address: u64(40, 'byte of the journal this copy was meant for'),
  epoch: uuid(48, 'the writer; blocks of other epochs than the root are no continuation of it'),
  sequence: u64(64, 'one count for both streams'),
  generation: u64(72, 'administrative commits up to here'),
  stable: u64(80, 'highest sequence whose barrier round is complete'),
  timeMs: u64(88, 'milliseconds since 1970, for people'),
  payloadLength: u32(96, 'bytes of batches after the header'),
  payloadCrc: u32(100, 'crc32c of them'),
  batchCount: u32(104, 'batches in the payload'),
  stream: u8(108, '0 administrative, 1 data path'),
  memberCount: u8(109, 'quorum disks from this block on'),
  members: list(112, MEMBERS_MAX, memberFields, 'their ids'),
})
const HEADER = journalFields.size
/** Largest payload of one block. Bytes. */
export const PAYLOAD_MAX = 512 * 1024

export interface JournalBlock {
  readonly epoch: string
  readonly sequence: number
  readonly generation: number
  readonly stable: number
  readonly timeMs: number
  readonly stream: StreamName
  readonly members: readonly string[]
  readonly batches: readonly Batch[]
}

export const blockLength = (payloadLength: number): number => alignUp(HEADER + payloadLength, BLOCK)

/** A block without what differs from disk to disk; `forDisk` seals a copy. */
export class EncodedBlock {
  readonly length: number
  private readonly bytes: Uint8Array
  private readonly header: Omit<ReturnType<typeof journalFields.decode>, 'crc' | 'magic' | 'poolId' | 'diskId' | 'address'>

  constructor(block: JournalBlock) {
    const payloadLength = block.batches.reduce((sum, batch) => sum + batch.size, 0)
    invariant(payloadLength <= PAYLOAD_MAX, 'a journal block above its bound')
    this.length = blockLength(payloadLength)
    this.bytes = new Uint8Array(this.length)
    let at = HEADER
    for (const batch of block.batches) at = encodeBatch(batch, this.bytes, at)
    this.header = {
      epoch: block.epoch,
      sequence: block.sequence,
      generation: block.generation,
      stable: block.stable,
      timeMs: block.timeMs,
      payloadLength,
      payloadCrc: crc32c(this.bytes.subarray(HEADER, HEADER + payloadLength)),
      batchCount: block.batches.length,
      stream: block.stream === 'admin' ? 0 : 1,
      memberCount: block.members.length,
      members: [...block.members, ...Array.from({ length: MEMBERS_MAX - block.members.length }, () => NIL_UUID)].map(disk => ({ disk })),
    }
  }

  forDisk(poolId: string, diskId: string, address: number): Uint8Array {
    const copy = this.bytes.slice()
    journalFields.encodeInto(copy, 0, { crc: 0, magic: 0, poolId, diskId, address, ...this.header })
    sealBlock('journal', copy.subarray(0, HEADER))
    return copy
  }
}

/** Reads `length` bytes of the journal of one disk. */
export type JournalReader = (offset: number, length: number) => Promise<Uint8Array>

interface Found extends JournalBlock {
  readonly address: number
  readonly end: number
}

/** The block at `address`, or undefined when there is none that is whole, in place and of this epoch. */
async function readBlockAt(read: JournalReader, address: number, to: number, poolId: string, diskId: string, epoch: string): Promise<Found | undefined> {
  if (address + BLOCK > to) return undefined
  const first = await read(address, BLOCK)
  if (!isSealed('journal', first.subarray(0, HEADER))) return undefined
  const header = journalFields.decode(first)
  if (header.poolId !== poolId || header.diskId !== diskId || header.address !== address || header.epoch !== epoch) return undefined
  if (header.payloadLength > PAYLOAD_MAX || header.memberCount > MEMBERS_MAX) return undefined
  const length = blockLength(header.payloadLength)
  if (address + length > to) return undefined
  const whole = length === BLOCK ? first : await read(address, length)
  const payload = whole.subarray(HEADER, HEADER + header.payloadLength)
  if (crc32c(payload) !== header.payloadCrc) return undefined
  const batches: Batch[] = []
  let at = 0
  for (let i = 0; i < header.batchCount; i++) {
    const { batch, end } = decodeBatch(payload, at)
    batches.push(batch)
    at = end
  }
  return {
    epoch: header.epoch,
    sequence: header.sequence,
    generation: header.generation,
    stable: header.stable,
    timeMs: header.timeMs,
    stream: header.stream === 0 ? 'admin' : 'data',
    members: header.members.slice(0, header.memberCount).map(m => m.disk),
    batches,
    address,
    end: address + length,
  }
}

/** Where each stream's next block goes, and the blocks after `root`, in order of sequence without a gap. */
export interface Tail {
  readonly blocks: readonly JournalBlock[]
  readonly adminHead: number
  readonly dataHead: number
}

export interface TailStart {
  readonly poolId: string
  readonly epoch: string
  readonly sequence: number
  readonly journalSize: number
  readonly adminStart: number
  readonly dataStart: number
}

/** Reads the blocks that follow a root, up to the first that is missing or torn; `upTo` bounds the sequence. */
export async function readTail(read: JournalReader, diskId: string, root: TailStart, upTo = Number.MAX_SAFE_INTEGER): Promise<Tail> {
  const streams = journalStreams(root.journalSize)
  const walk = (from: number, bounds: { from: number; to: number }) => {
    let position = from
    let last = root.sequence
    let wrapped = false
    return {
      head: () => position,
      next: async (): Promise<Found | undefined> => {
        let found = await readBlockAt(read, position, bounds.to, root.poolId, diskId, root.epoch)
        if (!(found && found.sequence > last) && !wrapped) {
          found = await readBlockAt(read, bounds.from, bounds.to, root.poolId, diskId, root.epoch)
          wrapped = found !== undefined
        }
        if (!found || found.sequence <= last) return undefined
        return found
      },
      accept: (found: Found) => {
        position = found.end
        last = found.sequence
      },
    }
  }
  const admin = walk(root.adminStart, streams.admin)
  const data = walk(root.dataStart, streams.data)
  const blocks: JournalBlock[] = []
  let expected = root.sequence + 1
  let nextAdmin = await admin.next()
  let nextData = await data.next()
  while (expected <= upTo) {
    if (nextAdmin?.sequence === expected) {
      blocks.push(nextAdmin)
      admin.accept(nextAdmin)
      nextAdmin = await admin.next()
    } else if (nextData?.sequence === expected) {
      blocks.push(nextData)
      data.accept(nextData)
      nextData = await data.next()
    } else break
    expected++
  }
  return { blocks, adminHead: admin.head(), dataHead: data.head() }
}

/** The place for the next block of a stream. Blocks never wrap: what does not fit before the end goes to the start. */
export class StreamRing {
  /** Byte of the journal where the next block goes if it fits. */
  head: number
  private used = 0

  constructor(
    private readonly from: number,
    private readonly to: number,
    head: number,
  ) {
    this.head = head
  }

  /** Bytes taken since the last durable root's start, skipped ends included. */
  get usedBytes(): number {
    return this.used
  }

  get size(): number {
    return this.to - this.from
  }

  /**
   * @param keep bytes that must stay free: room for voting a disk out, which cannot wait for a checkpoint
   * @returns the address for a block of `length` bytes, or undefined when a checkpoint must make room first
   */
  place(length: number, keep = 0): number | undefined {
    const wraps = this.head + length > this.to
    const skip = wraps ? this.to - this.head : 0
    if (this.used + skip + length > this.size - BLOCK - keep) return undefined
    const address = wraps ? this.from : this.head
    this.used += skip + length
    this.head = address + length
    return address
  }

  /** A mark that `release` takes back to: blocks before it are in the tree of a durable root. */
  mark(): { readonly head: number; readonly used: number } {
    return { head: this.head, used: this.used }
  }

  release(mark: { used: number }): void {
    this.used -= mark.used
  }
}

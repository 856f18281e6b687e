import type { Disk } from '../core/block/device.ts'
import { isCode, LunarError } from '../core/base/errors.ts'
import { isZero } from '../core/base/zeros.ts'
import { hasMagic, isSealed, sealBlock } from './block.ts'
import { BLOCK, FORMAT_VERSION, LABEL_AT } from './layout.ts'
import { struct, text, u16, u32, u64, u8, uuid } from './struct.ts'

/** The label: what a disk is and where things lie on it. 4096 bytes at the start of the disk and again at its recorded end. */
export const labelFields = struct('label', BLOCK, {
  crc: u32(0, 'crc32c of bytes 4..4095, seeded with the kind'),
  magic: u32(4, 'LABL'),
  product: text(8, 8, 'LUNAR'),
  version: u32(16, 'format version; a reader refuses one above its own'),
  featuresCompatible: u32(20, 'unknown bits may be ignored'),
  featuresReadOnly: u32(24, 'unknown bits allow reading only'),
  featuresIncompatible: u32(28, 'unknown bits refuse to open'),
  address: u64(32, 'where this copy was meant to go'),
  generation: u64(40, 'the newer copy wins'),
  poolId: uuid(48, 'pool'),
  diskId: uuid(64, 'disk'),
  poolName: text(80, 64, 'name of the pool when the label was written'),
  domain: text(144, 32, 'failure domain, empty when none'),
  diskNumber: u32(176, 'number of the disk in the pool, for life'),
  ldad: u16(180, 'disk group'),
  redundancySet: u16(182, 'redundancy set in the group'),
  redundancyIndex: u16(184, 'index in the set; adjacent even and odd are a pair'),
  flags: u16(186, 'bit 0: witness; bit 1: held quorum when the label was written (a hint)'),
  state: u8(188, 'state when the label was written (a hint): see the disk record'),
  size: u64(192, 'bytes of the disk'),
  segmentSize: u32(200, 'bytes of a segment (PSEG)'),
  sliceSize: u32(204, 'bytes of a slice (RSEG)'),
  journalRoom: u64(208, 'bytes reserved for the journal'),
  ownersAt: u64(216, 'first byte of the owner records'),
  segmentsAt: u64(224, 'first byte of segment 0'),
  segmentCount: u64(232, 'number of segments'),
  createdMs: u64(240, 'milliseconds since 1970'),
})
export type Label = Omit<ReturnType<typeof labelFields.decode>, 'crc' | 'magic' | 'product' | 'address'>

export const LABEL_WITNESS = 1
export const LABEL_QUORUM = 2
export const SUPPORTED_READ_ONLY = 0
export const SUPPORTED_INCOMPATIBLE = 0

/** What reading the label of a file found; `reason` says why there is none. */
export type LabelReport =
  | { readonly kind: 'label'; readonly label: Label; readonly damagedCopies: number }
  /** No copy is whole; `foreign`: nothing here was ever Lunar's; `empty`: all zeros; `damaged`: remains of a label. */
  | { readonly kind: 'foreign' | 'empty' | 'damaged' }
  | { readonly kind: 'truncated'; readonly label: Label }
  | { readonly kind: 'newer'; readonly version: number; readonly what: string; readonly label: Label | null }

export function encodeLabel(label: Label, address: number): Uint8Array {
  const block = labelFields.encode({ crc: 0, magic: 0, product: 'LUNAR', address, ...label })
  sealBlock('label', block)
  return block
}

const labelEnd = (size: number): number => Math.floor(size / BLOCK) * BLOCK - BLOCK

function decodeLabel(block: Uint8Array, address: number): Label | 'newer' | 'bad' {
  if (!hasMagic('label', block) || !isSealed('label', block)) return 'bad'
  const all = labelFields.decode(block)
  if (all.product !== 'LUNAR' || all.address !== address) return 'bad'
  const { crc: _crc, magic: _magic, product: _product, address: _address, ...label } = all
  return label
}

/** Reads both copies. Host errors other than `ERR_IO` are thrown: only real absence counts as missing (hazard 33). */
export async function readLabel(disk: Disk): Promise<LabelReport> {
  const size = disk.size
  if (size < 2 * BLOCK) return { kind: size === 0 ? 'empty' : 'foreign' }
  const front = await readBlock(disk, LABEL_AT)
  const first = front ? decodeLabel(front, LABEL_AT) : 'bad'
  const endAt = typeof first === 'object' ? labelEnd(first.size) : labelEnd(size)
  const endBlock = endAt + BLOCK <= size ? await readBlock(disk, endAt) : undefined
  const second = endBlock ? decodeLabel(endBlock, endAt) : 'bad'
  const copies = [first, second].filter((copy): copy is Label => typeof copy === 'object')
  // Two copies of two disks: one of them landed where it does not belong, and nothing tells which.
  if (copies.length === 2 && (copies[0]?.diskId !== copies[1]?.diskId || copies[0]?.poolId !== copies[1]?.poolId)) return { kind: 'damaged' }
  const newest = copies.sort((a, b) => b.generation - a.generation)[0]
  if (!newest) {
    const remains = (front && hasMagic('label', front)) || (endBlock && hasMagic('label', endBlock))
    if (remains) return { kind: 'damaged' }
    return { kind: front && isZero(front) && (!endBlock || isZero(endBlock)) ? 'empty' : 'foreign' }
  }
  if (newest.version > FORMAT_VERSION) return { kind: 'newer', version: newest.version, what: `format version ${newest.version}`, label: newest }
  const unknown = newest.featuresIncompatible & ~SUPPORTED_INCOMPATIBLE
  if (unknown !== 0) return { kind: 'newer', version: newest.version, what: `incompatible feature bits 0x${(unknown >>> 0).toString(16)}`, label: newest }
  if (size < newest.size) return { kind: 'truncated', label: newest }
  const stale = copies.length === 2 && copies[0]?.generation !== copies[1]?.generation ? 1 : 0
  return { kind: 'label', label: newest, damagedCopies: 2 - copies.length + stale }
}

async function readBlock(disk: Disk, at: number): Promise<Uint8Array | undefined> {
  const block = new Uint8Array(BLOCK)
  try {
    await disk.read(at, block)
    return block
  } catch (error) {
    if (isCode(error, 'ERR_IO')) return undefined
    throw error
  }
}

/** @throws LunarError `ERR_FORMAT_NEWER` when the label has features that allow reading only; call it before anything is written */
export function checkWritable(name: string, label: Label): void {
  const unknown = label.featuresReadOnly & ~SUPPORTED_READ_ONLY
  if (unknown !== 0) {
    throw new LunarError('ERR_FORMAT_NEWER', `Cannot open ${name} for writing`, {
      why: `its label has read-only feature bits 0x${(unknown >>> 0).toString(16)}, which this version does not know`,
      fix: 'use the newer version of lunar, or look at the pool with --read-only',
    })
  }
}

/** Replaces a label: the first copy is durable before the second is touched, so that one is always whole. */
export async function writeLabel(disk: Disk, label: Label): Promise<void> {
  const endAt = labelEnd(label.size)
  await disk.writeDurable(LABEL_AT, encodeLabel(label, LABEL_AT))
  await disk.writeDurable(endAt, encodeLabel(label, endAt))
}

/**
 * Labels a disk that no pool relies on yet: both copies, then one flush. A crash in between leaves a label, remains of
 * one, or none, and in each case a disk that is not the pool's until whoever labels it commits that.
 */
export async function writeFirstLabel(disk: Disk, label: Label): Promise<void> {
  const endAt = labelEnd(label.size)
  await Promise.all([disk.write(LABEL_AT, encodeLabel(label, LABEL_AT)), disk.write(endAt, encodeLabel(label, endAt))])
  await disk.flush()
}

/** The error for a file that was named as a pool's disk and is none. */
export function labelError(name: string, report: Exclude<LabelReport, { kind: 'label' }>): LunarError {
  const failed = `Cannot use ${name} as a disk of a pool`
  switch (report.kind) {
    case 'truncated':
      return new LunarError('ERR_TRUNCATED', failed, { why: `it is shorter than the ${report.label.size} bytes its label records` })
    case 'newer':
      return new LunarError('ERR_FORMAT_NEWER', failed, { why: `its label has ${report.what}, which this version does not know` })
    case 'damaged':
      return new LunarError('ERR_LABEL_DAMAGED', failed)
    default:
      return new LunarError('ERR_NOT_A_DISK', failed, { why: report.kind === 'empty' ? 'it is empty' : 'it carries no label of Lunar' })
  }
}

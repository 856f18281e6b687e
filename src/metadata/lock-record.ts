import type { Disk } from '../core/block/device.ts'
import { isCode, LunarError } from '../core/base/errors.ts'
import { isSealed, sealBlock } from './block.ts'
import { BLOCK, LOCK_RECORD_AT } from './layout.ts'
import { fitting, struct, text, u16, u32, u64, u8, uuid } from './struct.ts'

/** The lock record: who owns the pool and how to ask it (hazard 40). 4096 bytes at byte 4096 of every disk; the lock itself is the kernel's. */
export const lockRecordFields = struct('lock', BLOCK, {
  crc: u32(0, 'crc32c of bytes 4..4095, seeded with the kind'),
  magic: u32(4, 'KCOL'),
  recordVersion: u16(8, 'version of this record; readers ignore one above their own'),
  kind: u8(10, '1: a command, 2: an owner started on demand, 3: a server'),
  flags: u8(11, 'bit 0: opened for reading only'),
  pid: u32(12, 'process id, in its own namespace'),
  address: u64(16, 'where this copy was meant to go'),
  sinceMs: u64(24, 'milliseconds since 1970'),
  poolId: uuid(32, 'pool'),
  diskId: uuid(48, 'disk'),
  instance: uuid(64, 'random id of this ownership; its socket tells the same'),
  version: text(80, 32, 'version of the program'),
  socket: text(112, 112, 'path of the control socket'),
  host: text(224, 256, 'host name'),
  command: text(480, 512, 'what the operator typed, cut short'),
  machineId: uuid(992, 'machine-id(5) of the host; zero where it has none'),
  bootId: uuid(1008, 'random id that the kernel of the host took when it booted'),
  pidNamespace: u64(1024, 'inode of the name space of the process id; 0 where unknown'),
  startTicks: u64(1032, 'when the process started, in clock ticks since boot (proc(5))'),
})

const RECORD_VERSION = 1
const READ_ONLY = 1
const kinds = { command: 1, 'on-demand': 2, server: 3 } as const
const kindNames = Object.keys(kinds) as (keyof typeof kinds)[]

/** Which process a process id means, for whoever may have to tell whether it still lives. */
export interface ProcessIdentity {
  readonly machineId: string
  readonly bootId: string
  readonly pidNamespace: number
  readonly startTicks: number
}

/** Who owns a pool, as its lock records say. */
export interface LockRecord {
  readonly kind: keyof typeof kinds
  readonly readOnly: boolean
  readonly pid: number
  readonly identity: ProcessIdentity
  readonly sinceMs: number
  readonly poolId: string
  readonly instance: string
  readonly version: string
  readonly socket: string
  readonly host: string
  readonly command: string
}

/** Not durable on purpose: the kernel's lock decides who owns, and after a crash of the host nobody does. */
export function writeLockRecord(disk: Disk, diskId: string, record: LockRecord): Promise<void> {
  return disk.write(LOCK_RECORD_AT, encode(diskId, record))
}

/** For a disk that no lock of the kernel guards: there the record is the lock. */
export function writeLockRecordDurably(disk: Disk, diskId: string, record: LockRecord): Promise<void> {
  return disk.writeDurable(LOCK_RECORD_AT, encode(diskId, record))
}

function encode(diskId: string, record: LockRecord): Uint8Array {
  const block = lockRecordFields.encode({
    crc: 0,
    magic: 0,
    recordVersion: RECORD_VERSION,
    kind: kinds[record.kind],
    flags: record.readOnly ? READ_ONLY : 0,
    pid: record.pid,
    address: LOCK_RECORD_AT,
    sinceMs: record.sinceMs,
    poolId: record.poolId,
    diskId,
    instance: record.instance,
    version: fitting(record.version, 32),
    socket: record.socket,
    host: fitting(record.host, 256),
    command: fitting(record.command, 512),
    ...record.identity,
  })
  sealBlock('lock', block)
  return block
}

/** @returns the record of disk `diskId`; undefined when there is none, or none that can be believed */
export async function readLockRecord(disk: Disk, diskId: string): Promise<LockRecord | undefined> {
  if (disk.size < LOCK_RECORD_AT + BLOCK) return undefined
  try {
    const found = await readAnyLockRecord(disk)
    return found?.diskId === diskId ? found.record : undefined
  } catch (error) {
    if (isCode(error, 'ERR_IO') || isCode(error, 'ERR_FORMAT_NEWER')) return undefined
    throw error
  }
}

/** @returns whatever whole record lies there, and the disk that it names. @throws LunarError `ERR_IO`, `ERR_FORMAT_NEWER` */
export async function readAnyLockRecord(disk: Disk): Promise<{ diskId: string; record: LockRecord } | undefined> {
  const block = new Uint8Array(BLOCK)
  await disk.read(LOCK_RECORD_AT, block)
  if (!isSealed('lock', block)) return undefined
  const fields = decode(block)
  if (!fields || fields.address !== LOCK_RECORD_AT) return undefined
  if (fields.recordVersion > RECORD_VERSION) throw new LunarError('ERR_FORMAT_NEWER', `Cannot read who uses ${disk.name}`)
  const { pid, sinceMs, poolId, diskId, instance, version, socket, host, command, machineId, bootId, pidNamespace, startTicks } = fields
  const kind = kindNames.find(name => kinds[name] === fields.kind) ?? 'command'
  const identity = { machineId, bootId, pidNamespace, startTicks }
  return { diskId, record: { kind, readOnly: (fields.flags & READ_ONLY) !== 0, pid, identity, sinceMs, poolId, instance, version, socket, host, command } }
}

function decode(block: Uint8Array): ReturnType<typeof lockRecordFields.decode> | undefined {
  try {
    return lockRecordFields.decode(block)
  } catch (error) {
    if (isCode(error, 'ERR_METADATA_DAMAGED')) return undefined
    throw error
  }
}

/** Leaves no record; for an owner that lets the pool go. */
export async function clearLockRecord(disk: Disk): Promise<void> {
  await disk.write(LOCK_RECORD_AT, new Uint8Array(BLOCK))
}

/**
 * The one module for system calls that Node lacks: space of files (fallocate, holes), range locks, file system types.
 * Both native libraries are loaded when first needed; where koffi cannot load, callers write zeros instead and see no holes.
 */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { readFile, stat, statfs } from 'node:fs/promises'
import { getSystemErrorMap } from 'node:util'
import { LunarError, errnoOf } from '../base/errors.ts'
import type { ErrorCode } from '../base/error-table.ts'
import { SECTOR } from '../base/units.ts'

const FALLOC_KEEP_SIZE = 1
const FALLOC_PUNCH_HOLE = 2
const FALLOC_ZERO_RANGE = 16
/** Of preadv2: fail instead of waiting. */
const RWF_NOWAIT = 8
const SEEK_DATA = 3
const SEEK_HOLE = 4

/** Errors that are the disk's fault: those of the block layer (Linux block/blk-core.c) and a vanished device. */
const diskErrors = ['EIO', 'ENXIO', 'EREMOTEIO', 'ENODEV', 'ENODATA', 'ENOLINK', 'EILSEQ', 'EBADE', 'ETIMEDOUT', 'ENOMEDIUM', 'EBADMSG', 'EUCLEAN', 'ESTALE']
const spaceErrors = ['ENOSPC', 'EDQUOT', 'EFBIG']
const limitErrors = ['EMFILE', 'ENFILE', 'ENOMEM', 'ENOBUFS', 'EACCES', 'EPERM', 'EROFS', 'ETXTBSY']

const codes = new Map<string, ErrorCode>([
  ...diskErrors.map(name => [name, 'ERR_IO'] as const),
  ...spaceErrors.map(name => [name, 'ERR_HOST_FULL'] as const),
  ...limitErrors.map(name => [name, 'ERR_HOST_LIMIT'] as const),
  ['ENOENT', 'ERR_FILE_NOT_FOUND'],
  ['ENOTDIR', 'ERR_FILE_NOT_FOUND'],
  ['EEXIST', 'ERR_EXISTS'],
  ['EBUSY', 'ERR_BUSY'],
  ['EPIPE', 'ERR_PIPE_CLOSED'],
])

/**
 * The one place where errors of the host become ours (hazard 12: lack of space or of a resource is never a failed disk).
 * A `LunarError` stays what it is; a host error without a code of its own becomes `ERR_FAILED`.
 *
 * @param what the sentence that names operation and object: "Cannot write to /images/a.img"
 */
export function hostError(what: string, error: unknown): LunarError {
  if (error instanceof LunarError) return error
  const name = errnoOf(error)
  return new LunarError((name && codes.get(name)) || 'ERR_FAILED', what, { cause: error })
}

/** The file or device ended, or moved no bytes, before the transfer did: `ERR_IO`, never zeros (fault F28). */
export function shortTransfer(what: string, offset: number): LunarError {
  return new LunarError('ERR_IO', what, { why: `truncated: nothing could be transferred at byte ${offset}` })
}

/** An error like those of `node:fs`, for calls that report a bare errno. */
function systemError(errno: number, call: string): NodeJS.ErrnoException {
  const [name, text] = getSystemErrorMap().get(-errno) ?? [`E${errno}`, 'unknown error']
  return Object.assign(new Error(`${name}: ${text}, ${call}`), { code: name, errno: -errno, syscall: call })
}

interface NativeCall {
  async(...values: [...(number | bigint)[], (error: Error | null, result: number | bigint) => void]): void
}
interface Koffi {
  load(path: string): { func(declaration: string): NativeCall; func(name: string, result: string, parameters: readonly unknown[]): unknown }
  struct(fields: Record<string, string>): unknown
  pointer(type: unknown): unknown
  errno(): number
}
interface Libc {
  readonly koffi: Koffi
  readonly fallocate: NativeCall
  readonly lseek: NativeCall
  readonly preadv2: (fd: number, parts: { base: Uint8Array; length: number }, count: number, offset: number, flags: number) => number
}

let libc: Libc | null | undefined

/** Null where the native library cannot be loaded: another C library, or a platform without a build of it. */
function loadLibc(): Libc | null {
  if (libc !== undefined) return libc
  try {
    const koffi = createRequire(import.meta.url)('koffi') as Koffi
    const library = koffi.load('libc.so.6')
    libc = {
      koffi,
      fallocate: library.func('int fallocate64(int fd, int mode, int64_t offset, int64_t length)'),
      lseek: library.func('int64_t lseek64(int fd, int64_t offset, int whence)'),
      preadv2: library.func('preadv2', 'long', [
        'int',
        koffi.pointer(koffi.struct({ base: 'void *', length: 'size_t' })),
        'int',
        'int64_t',
        'int',
      ]) as Libc['preadv2'],
    }
  } catch {
    libc = null // not a failure: every caller has a way without it
  }
  return libc
}

/** Whether the native library is there, or known not to be: then asking for it costs nothing. */
export const nativeCallsLoaded = (): boolean => libc !== undefined

/**
 * Reads what the host has in memory, without waiting for a disk (preadv2 with RWF_NOWAIT).
 * @returns bytes read; -1 when it would have to wait, when it failed, or where there is no such call
 */
export function readCached(fd: number, offset: number, into: Uint8Array): number {
  const calls = loadLibc()
  return calls ? calls.preadv2(fd, { base: into, length: into.length }, 1, offset, RWF_NOWAIT) : -1
}

const AF_UNIX = 1
const SOCK_DGRAM = 2
const SOCK_CLOEXEC = 0x80000
const MSG_NOSIGNAL = 0x4000

/**
 * Sends one datagram to a unix socket; Node has no such sockets. `@` in front stands for the abstract name space.
 * @returns false when it could not be sent, or where there are no native calls
 */
export function sendDatagram(address: string, message: Uint8Array): boolean {
  if (!loadLibc()) return false
  const library = loadLibc()!.koffi.load('libc.so.6')
  const call = (name: string, parameters: readonly string[]): ((...values: (number | Uint8Array)[]) => number) =>
    library.func(name, 'long', parameters) as (...values: (number | Uint8Array)[]) => number
  const path = Buffer.from(address)
  if (path[0] === '@'.charCodeAt(0)) path[0] = 0
  const family = Buffer.alloc(2)
  family.writeUInt16LE(AF_UNIX)
  const to = Buffer.concat([family, path])
  const fd = call('socket', ['int', 'int', 'int'])(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)
  if (fd < 0) return false
  try {
    return call('sendto', ['int', 'void *', 'size_t', 'int', 'void *', 'uint32_t'])(fd, message, message.length, MSG_NOSIGNAL, to, to.length) === message.length
  } finally {
    call('close', ['int'])(fd)
  }
}

/** How long this thread has been ready to run while others had the processor, since it began; 0 for ever where the host does not tell. Milliseconds. */
export function processorWaitMs(): number {
  try {
    return Number(readFileSync('/proc/thread-self/schedstat', 'latin1').split(' ')[1]) / 1e6 || 0
  } catch {
    return 0 // not a failure: then all of the time counts as the disk's
  }
}

/** For tests: as if koffi could not be loaded (`false`), or back to what is there. */
export function useNativeCalls(enabled: boolean): void {
  libc = enabled ? undefined : null
}

/** Runs a call in the thread pool, again after EINTR. Rejects with a system error. */
function native(lib: Libc, call: NativeCall, name: string, values: readonly number[]): Promise<number> {
  return new Promise((resolve, reject) => {
    const attempt = (): void =>
      call.async(...values, (error: Error | null, result: number | bigint) => {
        if (error) return reject(error)
        if (Number(result) >= 0) return resolve(Number(result))
        const failure = systemError(lib.koffi.errno(), name) // koffi keeps the errno of each asynchronous call
        if (failure.code === 'EINTR') return attempt()
        reject(failure)
      })
    attempt()
  })
}

/** @returns false where this host or file system cannot do it, and nothing was changed */
async function fallocate(fd: number, mode: number, offset: number, length: number): Promise<boolean> {
  const lib = loadLibc()
  if (!lib) return false
  try {
    await native(lib, lib.fallocate, 'fallocate', [fd, mode, offset, length])
    return true
  } catch (error) {
    const name = errnoOf(error)
    if (name === 'EOPNOTSUPP' || name === 'ENOTSUP' || name === 'ENOSYS') return false
    throw error
  }
}

/** Takes blocks for the range of a file, size and contents stay. Rejects with a system error, ENOSPC first of all. @returns false where the host cannot */
export const reserveRange = (fd: number, offset: number, length: number): Promise<boolean> => fallocate(fd, FALLOC_KEEP_SIZE, offset, length)

/** Gives the blocks of the range back, it then reads as zeros. @returns false where the host cannot */
export const punchHole = (fd: number, offset: number, length: number): Promise<boolean> => fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, offset, length)

/** The range reads as zeros and keeps its blocks. @returns false where the host cannot */
export const zeroRange = (fd: number, offset: number, length: number): Promise<boolean> => fallocate(fd, FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE, offset, length)

/** A range of a file that may hold data; what lies between such ranges reads as zeros. */
export interface DataRange {
  readonly offset: number
  readonly length: number
}

/**
 * The data ranges of a file between `offset` and `offset + length`, in order. Blocks that are taken but never written
 * count as holes: they read as zeros. Without native calls, or where the file system knows no holes: one range.
 * Moves the position of the descriptor, which nothing here uses.
 */
export async function dataRanges(fd: number, offset: number, length: number): Promise<DataRange[]> {
  const end = offset + length
  const lib = loadLibc()
  if (!lib) return length > 0 ? [{ offset, length }] : []
  const seek = async (from: number, whence: number): Promise<number> => {
    try {
      return await native(lib, lib.lseek, 'lseek', [fd, from, whence])
    } catch (error) {
      if (errnoOf(error) === 'ENXIO') return end // nothing but a hole, or the end of the file, from here on
      if (errnoOf(error) === 'EINVAL') return whence === SEEK_DATA ? from : end // the file system has no such call
      throw error
    }
  }
  const ranges: DataRange[] = []
  for (let at = offset; at < end;) {
    const data = await seek(at, SEEK_DATA)
    if (data >= end) break
    at = Math.min(end, await seek(data, SEEK_HOLE))
    ranges.push({ offset: data, length: at - data })
  }
  return ranges
}

/** Bytes of a block device, given `stat.rdev`. Rejects with a system error. */
export async function blockDeviceSize(rdev: bigint): Promise<number> {
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xfffff000n)
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & 0xffffff00n)
  return Number((await readFile(`/sys/dev/block/${major}:${minor}/size`, 'utf8')).trim()) * SECTOR
}

export interface FileSystem {
  /** As the kernel names it (`ext4`, `nfs4`, `fuse.sshfs`), or the number of its type in hex. */
  readonly type: string
  /** False when processes on other hosts may write there too and their locks may not be seen here. */
  readonly local: boolean
}

const FUSE_TYPE = 0x65735546

/** Types of statfs(2) whose files other hosts can reach. */
const remoteTypes = new Map<number, string>([
  [0x6969, 'nfs'],
  [0x517b, 'smb'],
  [0xfe534d42, 'smb2'],
  [0xff534d42, 'cifs'],
  [0x5346414f, 'afs'],
  [0x6b414653, 'kafs'],
  [0x73757245, 'coda'],
  [0x564c, 'ncp'],
  [0x01021997, '9p'],
  [0x00c36400, 'ceph'],
  [0x0bd00bd0, 'lustre'],
  [0x47504653, 'gpfs'],
  [0x19830326, 'fhgfs'],
  [0x7461636f, 'ocfs2'],
  [0x01161970, 'gfs2'],
  [0x20030528, 'orangefs'],
  [0x786f4256, 'vboxsf'],
])

/** FUSE file systems over disks of this host; all others may lie anywhere. */
const localFuse = [
  'fuseblk',
  'fuse.ntfs-3g',
  'fuse.exfat',
  'fuse.ext4',
  'fuse.fuse2fs',
  'fuse.mergerfs',
  'fuse.gocryptfs',
  'fuse.encfs',
  'fuse.bindfs',
  'fuse.fuse-overlayfs',
]

/**
 * The file system under `path`. For FUSE the mount table tells which one it is.
 * @throws LunarError `ERR_FILE_NOT_FOUND`, `ERR_HOST_LIMIT`, `ERR_IO`
 */
export async function fileSystemOf(path: string): Promise<FileSystem> {
  try {
    const type = (await statfs(path)).type >>> 0
    if (type !== FUSE_TYPE) return { type: remoteTypes.get(type) ?? `0x${type.toString(16)}`, local: !remoteTypes.has(type) }
    const { dev } = await stat(path, { bigint: true })
    return fuseFileSystem(await readFile('/proc/self/mountinfo', 'utf8'), dev)
  } catch (error) {
    throw hostError(`Cannot look at the file system of ${path}`, error)
  }
}

/** Finds the FUSE file system of device `dev` in the text of /proc/self/mountinfo; unknown ones count as not local. */
export function fuseFileSystem(mountinfo: string, dev: bigint): FileSystem {
  const device = `${(dev >> 8n) & 0xfffn}:${(dev & 0xffn) | ((dev >> 12n) & 0xffffff00n)}`
  for (const line of mountinfo.split('\n')) {
    const [mount = '', source = ''] = line.split(' - ')
    const type = source.split(' ')[0] ?? ''
    if (mount.split(' ')[2] === device) return { type, local: localFuse.includes(type) }
  }
  return { type: 'fuse', local: false }
}

/** Whether locks on files at `path` are seen by everyone who can write them (fault F27). @throws LunarError as `fileSystemOf` */
export const isLocal = async (path: string): Promise<boolean> => (await fileSystemOf(path)).local

interface LockLibrary {
  tryLock(fd: number, offset: number, length: number): boolean
  unlock(fd: number, offset: number, length: number): void
}
let locks: LockLibrary | undefined
const lockLibrary = (): LockLibrary => (locks ??= createRequire(import.meta.url)('fs-native-extensions') as LockLibrary)

/**
 * Takes an exclusive lock of the kernel on a byte range. It belongs to the open file description: a child that inherits
 * the descriptor holds it too, it ends when the last such descriptor is closed, and a second open of the file in the
 * same process is refused like any other.
 *
 * @returns false when somebody else holds it. Throws a system error for everything else.
 */
export const tryLock = (fd: number, offset: number, length: number): boolean => lockLibrary().tryLock(fd, offset, length)

/** Gives the lock up for all who share the open file description. */
export const unlock = (fd: number, offset: number, length: number): void => lockLibrary().unlock(fd, offset, length)

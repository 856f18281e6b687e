/** Image files and block devices as disks. */
import fs, { constants, type BigIntStats } from 'node:fs'
import { open, unlink, type FileHandle } from 'node:fs/promises'
import { dirname, resolve as absolute } from 'node:path'
import { promisify } from 'node:util'
import { deferred, type Deferred } from '../base/deferred.ts'
import { LunarError, errnoOf } from '../base/errors.ts'
import { ResourceStack } from '../base/resources.ts'
import { MIB, SECTOR, alignDown, alignUp } from '../base/units.ts'
import { zeroPart } from '../base/zeros.ts'
import { suitsDirect } from './aligned.ts'
import { CallGate, callsPerDisk } from './call-gate.ts'
import type { Disk, Extent, ExtentKind } from './device.ts'
import { FastCalls } from './fast-calls.ts'
import { FileTransfer, type FileCalls } from './file-transfer.ts'
import { blockDeviceSize, dataRanges, hostError, punchHole, reserveRange, shortTransfer, tryLock, unlock, zeroRange } from './host.ts'

/** The byte range of the lock record: what an owner locks on every disk. */
export const LOCK_OFFSET = 4096
export const LOCK_LENGTH = 4096

export interface FileDiskOptions {
  /** Opens for reading; writes are then refused with `ERR_READ_ONLY`. */
  readonly readOnly?: boolean
  /**
   * Block devices: refuses with `ERR_BUSY` what is mounted or in use by another exclusive opener (O_EXCL), or with `try` opens it
   * all the same and never gets its lock. A lock belongs to a device node, the claim to the device, however many nodes it has.
   */
  readonly exclusive?: boolean | 'try'
  /** Data calls at once, at least 1; a quarter of the thread pool when left out. */
  readonly calls?: number
  /** For tests. */
  readonly fileCalls?: FileCalls
}

/** What became of the file behind an open disk (faults F28, F35); serving from the held descriptor goes on. */
export interface FileFaults {
  /** No name leads to the file any more. */
  readonly unlinked: boolean
  /** The path leads to another file now, or to none. */
  readonly replaced: boolean
  /** The file is shorter than it was when it was opened. */
  readonly truncated: boolean
  /** Mode or owner are not what they were when it was opened. */
  readonly permissions: boolean
}

interface Opened {
  readonly name: string
  readonly dataFd: number
  /** The O_DSYNC descriptor; undefined when open for reading. */
  readonly durableFd: number | undefined
  readonly size: number
  readonly stats: BigIntStats
  readonly claimed: boolean
}

const fstat = (fd: number): Promise<BigIntStats> => promisify(fs.fstat)(fd, { bigint: true }) as Promise<BigIntStats>
// Not that of fs/promises, which is long to load and which a command that only looks does not need.
const stat = (path: string): Promise<BigIntStats> => promisify(fs.stat)(path, { bigint: true })
const closeFd = promisify(fs.close)
const blockSize = SECTOR

/**
 * A regular file or a block device. Two descriptors: one for data, and one opened O_DSYNC, so that a durable write does
 * not wait for other dirty data (hazard 13). A third, O_DIRECT, is opened for long writes from page memory (aligned.ts):
 * without the page cache they cost a third of the processor time; where the host refuses, they take the usual way. Small transfers that need not wait for the disk are made at once (fast-calls.ts); all others run in the thread pool, at most `calls`
 * of them at once for data; flushes (never two at once) and durable writes are not counted (hazard 43). `close` waits for calls under way:
 * a descriptor is never closed below a call, which could then reach another file.
 */
export class FileDisk implements Disk {
  readonly name: string
  readonly size: number
  readonly blockSize = blockSize
  readonly identity: string
  readonly readOnly: boolean
  readonly isBlockDevice: boolean
  readonly calls: FileCalls

  private readonly dataFd: number
  private readonly durableFd: number | undefined
  private readonly gate: CallGate
  /** Not where somebody else makes the calls. */
  private readonly fast: FastCalls | undefined
  private readonly stats: BigIntStats
  /** False when somebody else has the block device for himself. */
  private readonly claimed: boolean
  private active = 0
  private flushing: Promise<void> | undefined
  private flushWaiting: Promise<void> | undefined
  private idle: Deferred<void> | undefined
  private closed: Promise<void> | undefined
  /** The O_DIRECT descriptor, or undefined where the host has none. */
  private direct: Promise<number | undefined> | undefined
  private directRefused = false

  private constructor(opened: Opened, options: FileDiskOptions) {
    this.name = opened.name
    this.size = opened.size
    this.stats = opened.stats
    this.claimed = opened.claimed
    this.isBlockDevice = opened.stats.isBlockDevice()
    this.identity = identityOf(opened.stats)
    this.dataFd = opened.dataFd
    this.durableFd = opened.durableFd
    this.readOnly = opened.durableFd === undefined
    this.gate = new CallGate(options.calls ?? callsPerDisk())
    this.calls = options.fileCalls ?? fs
    this.fast = options.fileCalls ? undefined : new FastCalls()
  }

  /** @throws LunarError `ERR_FILE_NOT_FOUND`, `ERR_HOST_LIMIT`, `ERR_IO`, `ERR_BUSY`, `ERR_NOT_A_DISK` for folders, pipes and the like */
  static async open(path: string, options: FileDiskOptions = {}): Promise<FileDisk> {
    const name = absolute(path)
    try {
      await using opened = new ResourceStack()
      const before = await stat(name)
      checkKind(name, before)
      const flags = options.readOnly ? constants.O_RDONLY : constants.O_RDWR
      const exclusive = options.exclusive && before.isBlockDevice() ? constants.O_EXCL : 0
      let claimed = true
      const dataFd = await openFd(opened, name, flags | exclusive).catch((error: unknown) => {
        if (options.exclusive !== 'try' || errnoOf(error) !== 'EBUSY') throw error
        claimed = false
        return openFd(opened, name, flags)
      })
      const durableFd = options.readOnly ? undefined : await openFd(opened, name, constants.O_RDWR | constants.O_DSYNC)
      return await FileDisk.over(name, dataFd, durableFd, options, opened, claimed)
    } catch (error) {
      throw hostError(`Cannot open ${path}`, error)
    }
  }

  /**
   * Makes a sparse image file of `size` bytes, mode 0600; file and name are durable when it resolves.
   * @throws LunarError `ERR_EXISTS`, `ERR_HOST_FULL`, `ERR_HOST_LIMIT`, `ERR_FILE_NOT_FOUND` (the folder); then there is no new file
   */
  static async create(path: string, size: number, options: Omit<FileDiskOptions, 'readOnly' | 'exclusive'> = {}): Promise<FileDisk> {
    const name = absolute(path)
    if (!Number.isSafeInteger(size) || size <= 0 || size % SECTOR !== 0) {
      throw new LunarError('ERR_BAD_SIZE', `Cannot create ${path}`, { why: `${size} bytes are not a multiple of ${SECTOR}` })
    }
    try {
      const made = await open(name, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600)
      try {
        await made.truncate(size)
        await made.sync()
        await syncFolder(dirname(name))
        return await FileDisk.open(name, options)
      } catch (error) {
        await unlink(name)
        throw error
      } finally {
        await made.close()
      }
    } catch (error) {
      throw hostError(`Cannot create ${path}`, error)
    }
  }

  /**
   * Takes over descriptors that another process opened and may have locked (`fds` of its disk); `name` is the path.
   * The disk owns them from here on, also when this rejects.
   * @throws LunarError `ERR_IO` unless both are open on one file
   */
  static async fromDescriptors(
    name: string,
    dataFd: number,
    durableFd: number,
    options: Omit<FileDiskOptions, 'readOnly' | 'exclusive'> = {},
  ): Promise<FileDisk> {
    await using opened = new ResourceStack()
    opened.defer(() => closeFd(dataFd))
    opened.defer(() => closeFd(durableFd))
    try {
      return await FileDisk.over(absolute(name), dataFd, durableFd, options, opened)
    } catch (error) {
      throw hostError(`Cannot take over ${name}`, error)
    }
  }

  /** From here on the disk closes the descriptors, and `opened` no longer does. */
  private static async over(
    name: string,
    dataFd: number,
    durableFd: number | undefined,
    options: FileDiskOptions,
    opened: ResourceStack,
    claimed = true,
  ): Promise<FileDisk> {
    const stats = await fstat(dataFd)
    checkKind(name, stats)
    if (durableFd !== undefined && identityOf(await fstat(durableFd)) !== identityOf(stats)) {
      throw new LunarError('ERR_IO', `Cannot open ${name}`, { why: 'it was replaced by another file meanwhile' })
    }
    const bytes = stats.isBlockDevice() ? await blockDeviceSize(stats.rdev) : Number(stats.size)
    const disk = new FileDisk({ name, dataFd, durableFd, size: alignDown(bytes, SECTOR), stats, claimed }, options)
    opened.move()
    return disk
  }

  /** The descriptors to hand to a child process: data, then durable. A lock lies on the first. */
  get fds(): readonly number[] {
    return this.durableFd === undefined ? [this.dataFd] : [this.dataFd, this.durableFd]
  }

  read(offset: number, into: Uint8Array): Promise<void> {
    return this.transfer(this.dataFd, false, offset, [into], this.gate)
  }

  /** Reads what the host has in memory (fast-calls.ts). */
  tryRead(offset: number, into: Uint8Array): boolean {
    if (!this.fast || this.closed || into.length === 0 || offset + into.length > this.size) return false
    return this.fast.read(this.dataFd, offset, into)
  }

  /** Writes into the host's memory, while that is quick (fast-calls.ts). */
  tryWrite(offset: number, data: Uint8Array): boolean {
    if (!this.fast || this.closed || this.readOnly || data.length === 0 || offset + data.length > this.size) return false
    return this.fast.write(this.dataFd, offset, data)
  }

  readv(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    return this.transfer(this.dataFd, false, offset, parts, this.gate)
  }

  write(offset: number, data: Uint8Array): Promise<void> {
    return this.transfer(this.dataFd, true, offset, [data], this.gate)
  }

  writev(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    return this.transfer(this.dataFd, true, offset, parts, this.gate)
  }

  writeDurable(offset: number, data: Uint8Array): Promise<void> {
    return this.transfer(this.durableFd ?? this.dataFd, true, offset, [data])
  }

  /**
   * fdatasync. Who calls while one is under way shares the next. When one fails, those that wait for the next fail with
   * it: the kernel reports a lost write once, the next call would call it safe (fault F11).
   */
  flush(): Promise<void> {
    if (this.readOnly) return Promise.resolve()
    if (this.flushWaiting) return this.flushWaiting
    const refused = this.begin(true)
    if (refused) return Promise.reject(refused)
    if (!this.flushing) return this.startFlush()
    this.flushWaiting = this.flushing.then(
      () => {
        this.flushWaiting = undefined
        return this.startFlush()
      },
      (error: unknown) => {
        this.flushWaiting = undefined
        this.ended()
        throw error
      },
    )
    return this.flushWaiting
  }

  /** The call is counted already. */
  private startFlush(): Promise<void> {
    this.flushing = new Promise((resolve, reject) => {
      const attempt = (): void =>
        this.calls.fdatasync(this.dataFd, error => {
          if (error && errnoOf(error) === 'EINTR') return attempt()
          this.flushing = undefined
          this.ended()
          if (error) reject(hostError(`Cannot flush ${this.name}`, error))
          else resolve()
        })
      attempt()
    })
    return this.flushing
  }

  /** Gives the range back to the host's file system; block devices take no hint. */
  async trim(offset: number, length: number): Promise<void> {
    if (this.isBlockDevice || length === 0) return
    await this.guarded('trim', () => punchHole(this.dataFd, offset, length))
  }

  /** The range reads as zeros and keeps the blocks that `reserve` took. */
  zero(offset: number, length: number): Promise<void> {
    return this.clear('zero', zeroRange, offset, length)
  }

  /** Where the host cannot punch, zeros are written. */
  punch(offset: number, length: number): Promise<void> {
    return this.clear('punch', punchHole, offset, length)
  }

  private async clear(verb: string, call: typeof punchHole, offset: number, length: number): Promise<void> {
    if (length === 0) return
    const done = await this.guarded(verb, () => this.clearByCall(call, offset, length))
    if (done) return
    for (let at = offset; at < offset + length; at += MIB) await this.write(at, zeroPart(offset + length - at))
  }

  /** Block devices know both calls since Linux 4.9, and zero for certain; they refuse ranges that cut their own sectors. */
  private async clearByCall(call: typeof punchHole, offset: number, length: number): Promise<boolean> {
    try {
      return await call(this.dataFd, offset, length)
    } catch (error) {
      if (this.isBlockDevice && errnoOf(error) === 'EINVAL') return false
      throw error
    }
  }

  /**
   * fallocate; where the host has none, what is there is written again in place, so nobody else may write to the range
   * meanwhile. Block devices have all their blocks.
   */
  async reserve(offset: number, length: number): Promise<void> {
    if (this.isBlockDevice || length === 0) return
    if (await this.guarded('reserve space on', () => reserveRange(this.dataFd, offset, length))) return
    const buffer = Buffer.allocUnsafe(Math.min(MIB, length))
    for (let at = offset; at < offset + length; at += buffer.length) {
      const part = buffer.subarray(0, Math.min(buffer.length, offset + length - at))
      await this.read(at, part)
      await this.write(at, part)
    }
  }

  /** Holes as the host's file system tells them; blocks that are reserved but not written count as holes. */
  async extents(offset: number, length: number): Promise<Extent[]> {
    if (length === 0) return []
    if (this.isBlockDevice) return [{ offset, length, kind: 'data' }]
    const ranges = await this.guarded('look for holes in', () => dataRanges(this.dataFd, offset, length), false)
    const extents: Extent[] = []
    const end = offset + length
    let at = offset
    const add = (to: number, kind: ExtentKind): void => {
      if (to > at) extents.push({ offset: at, length: to - at, kind })
      at = Math.max(at, to)
    }
    for (const range of ranges) {
      add(alignDown(range.offset, blockSize), 'hole')
      add(Math.min(end, alignUp(range.offset + range.length, blockSize)), 'data')
    }
    add(end, 'hole')
    return extents
  }

  /**
   * Takes the kernel's exclusive lock on a range of the file, without waiting. Children that inherit `fds` hold it too.
   * @returns false when another descriptor holds it, or has claimed the block device
   * @throws LunarError `ERR_HOST_LIMIT` (no locks left), `ERR_FAILED` (the file system has none)
   */
  tryLock(offset = LOCK_OFFSET, length = LOCK_LENGTH): boolean {
    const refused = this.closed ? this.closedError() : this.readOnlyError()
    if (refused) throw refused
    if (!this.claimed) return false
    try {
      return tryLock(this.dataFd, offset, length)
    } catch (error) {
      throw hostError(`Cannot lock ${this.name}`, error)
    }
  }

  unlock(offset = LOCK_OFFSET, length = LOCK_LENGTH): void {
    try {
      unlock(this.dataFd, offset, length)
    } catch (error) {
      throw hostError(`Cannot unlock ${this.name}`, error)
    }
  }

  /** Compares the open file with what its path leads to now. @throws LunarError `ERR_IO`, `ERR_HOST_LIMIT` when even that cannot be told */
  watchFaults(): Promise<FileFaults> {
    return this.guarded(
      'look at',
      async () => {
        const held = await fstat(this.dataFd)
        const named = await stat(this.name).catch((error: unknown) => {
          if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined
          throw error
        })
        return {
          unlinked: held.nlink === 0n,
          replaced: named === undefined || identityOf(named) !== this.identity,
          truncated: held.isFile() && Number(held.size) < this.size,
          permissions: held.mode !== this.stats.mode || held.uid !== this.stats.uid || held.gid !== this.stats.gid,
        }
      },
      false,
    )
  }

  /** Waits for the calls under way, then closes the descriptors; a lock ends unless a child holds it too. Repeating it is harmless. */
  close(): Promise<void> {
    this.closed ??= this.closeFds()
    return this.closed
  }

  private async closeFds(): Promise<void> {
    if (this.active > 0) {
      this.idle = deferred()
      await this.idle.promise
    }
    const closing = new ResourceStack()
    for (const fd of this.fds) closing.defer(() => closeFd(fd))
    const direct = await this.direct
    if (direct !== undefined) closing.defer(() => closeFd(direct))
    await closing.close()
  }

  /** A call has ended. Part of the interface to transfers, not for users. */
  ended(): void {
    this.active--
    if (this.active === 0) this.idle?.resolve()
  }

  private transfer(fd: number, writing: boolean, offset: number, parts: readonly Uint8Array[], gate?: CallGate): Promise<void> {
    const refused = this.begin(writing)
    if (refused) return Promise.reject(refused)
    const filled = parts.length === 1 && parts[0]!.length > 0 ? parts : parts.filter(part => part.length > 0)
    if (filled.length === 0) {
      this.ended()
      return Promise.resolve()
    }
    const transfer = new FileTransfer(this, fd, writing, offset, filled, gate)
    if (offset + transfer.length > this.size) {
      this.ended()
      return Promise.reject(shortTransfer(`Cannot reach bytes ${offset} to ${offset + transfer.length} of ${this.name}`, this.size))
    }
    if (gate && filled.length === 1 && (writing ? this.tryWrite(offset, filled[0]!) : this.tryRead(offset, filled[0]!))) {
      this.ended()
      return Promise.resolve()
    }
    if (writing && gate && !this.directRefused && suitsDirect(offset, filled, transfer.length)) return this.writeDirect(offset, filled, transfer)
    return transfer.run()
  }

  /** @param buffered the same write through the page cache, counted already, for hosts that refuse */
  private async writeDirect(offset: number, parts: readonly Uint8Array[], buffered: FileTransfer): Promise<void> {
    const fd = await (this.direct ??= openDirect(this.dataFd))
    if (fd === undefined) {
      this.directRefused = true
      return buffered.run()
    }
    this.active++ // so that nothing is closed before `buffered`, should it be needed
    try {
      await new FileTransfer(this, fd, true, offset, parts, this.gate).run()
    } catch (error) {
      if (!(error instanceof LunarError) || errnoOf(error.cause) !== 'EINVAL') {
        this.ended()
        throw error
      }
      this.directRefused = true
      return buffered.run()
    }
    this.ended()
  }

  /** Counts a call, or says why it cannot be. */
  private begin(writing: boolean): LunarError | undefined {
    const refused = this.closed ? this.closedError() : writing ? this.readOnlyError() : undefined
    if (!refused) this.active++
    return refused
  }

  private closedError(): LunarError {
    return new LunarError('ERR_FAILED', `Cannot use ${this.name}`, { why: 'it is closed' })
  }

  private readOnlyError(): LunarError | undefined {
    return this.readOnly ? new LunarError('ERR_READ_ONLY', `Cannot change ${this.name}`, { why: 'it is open for reading only' }) : undefined
  }

  /** Counts a call of the host, lets it through the gate and maps its errors. */
  private async guarded<T>(verb: string, call: () => Promise<T>, writing = true): Promise<T> {
    const refused = this.begin(writing)
    if (refused) throw refused
    try {
      return await this.gate.run(call)
    } catch (error) {
      throw hostError(`Cannot ${verb} ${this.name}`, error)
    } finally {
      this.ended()
    }
  }
}

const identityOf = (stats: BigIntStats): string => (stats.isBlockDevice() ? `block:${stats.rdev}` : `${stats.dev}:${stats.ino}`)

/** What a disk opened at `path` would have as its identity: equal for every path and device node of one file or device. Undefined when nothing is there. */
export async function identityAt(path: string): Promise<string | undefined> {
  try {
    return identityOf(await stat(path))
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw hostError(`Cannot use ${path} as a disk`, error)
  }
}

function checkKind(name: string, stats: BigIntStats): void {
  if (!stats.isFile() && !stats.isBlockDevice()) {
    throw new LunarError('ERR_NOT_A_DISK', `Cannot use ${name} as a disk`, { why: 'it is neither a file nor a block device' })
  }
}

async function openFd(opened: ResourceStack, path: string, flags: number): Promise<number> {
  const fd = await promisify(fs.open)(path, flags)
  opened.defer(() => closeFd(fd))
  return fd
}

/** Opens the very file that `fd` is open on, whatever its path leads to now. @returns undefined where that, or O_DIRECT, is not to be had */
function openDirect(fd: number): Promise<number | undefined> {
  return promisify(fs.open)(`/proc/self/fd/${fd}`, constants.O_RDWR | constants.O_DIRECT).catch((error: unknown) => {
    if (errnoOf(error) === undefined) throw error
    return undefined
  })
}

/** Makes a new name in a folder durable. Rejects with a system error. */
export async function syncFolder(path: string): Promise<void> {
  const folder: FileHandle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import { chmod, mkdir, mkdtemp, readFile, rename, rm, stat, symlink, truncate, unlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { alignedBuffers } from '../../../src/core/block/aligned.ts'
import { FileDisk } from '../../../src/core/block/file.ts'
import type { FileCalls } from '../../../src/core/block/file-transfer.ts'
import { stamp } from '../../conformance/block-device.ts'
import { diskSuite } from '../../conformance/disk.ts'
import { bundle, runLimited } from './child.ts'

const MIB = 1024 * 1024
const folder = await mkdtemp(join(tmpdir(), 'lunar-file-'))
afterAll(() => rm(folder, { recursive: true }))
let made = 0
const isRoot = process.getuid?.() === 0
const newPath = (): string => join(folder, `disk${made++}.img`)

const readAll = async (disk: FileDisk, offset: number, length: number): Promise<Buffer> => {
  const into = Buffer.alloc(length, 0xa5)
  await disk.read(offset, into)
  return into
}
const hostErrorOf = (code: string): NodeJS.ErrnoException => Object.assign(new Error(`${code}: made by the test`), { code })

/** `node:fs`, with parts replaced. */
const callsWith = (replaced: Partial<FileCalls>): FileCalls => ({
  read: fs.read,
  write: fs.write,
  readv: fs.readv,
  writev: fs.writev,
  fdatasync: fs.fdatasync,
  ...replaced,
})

describe('making and opening', () => {
  test('a new image is sparse, private and of the size asked for', async () => {
    const path = newPath()
    const disk = await FileDisk.create(path, 8 * MIB)
    const stats = await stat(path)
    expect(stats.mode & 0o777).toBe(0o600)
    expect(stats.size).toBe(8 * MIB)
    expect(stats.blocks).toBeLessThan(64)
    expect(disk.size).toBe(8 * MIB)
    await disk.close()
  })

  test('never takes what is there: a file, a link, also one that leads nowhere', async () => {
    const path = newPath()
    await writeFile(path, 'precious')
    await symlink(path, `${path}.link`)
    await symlink(`${path}.nothing`, `${path}.dangling`)
    for (const taken of [path, `${path}.link`, `${path}.dangling`]) await expect(FileDisk.create(taken, MIB)).rejects.toMatchObject({ code: 'ERR_EXISTS' })
    expect(await readFile(path, 'utf8')).toBe('precious')
    expect(fs.existsSync(`${path}.nothing`)).toBe(false)
  })

  test('refuses what is no disk, without hanging', async () => {
    const fifo = newPath()
    execFileSync('mkfifo', [fifo])
    await expect(FileDisk.open(fifo)).rejects.toMatchObject({ code: 'ERR_NOT_A_DISK' })
    await expect(FileDisk.open(folder)).rejects.toMatchObject({ code: 'ERR_NOT_A_DISK' })
    await expect(FileDisk.open(newPath())).rejects.toMatchObject({ code: 'ERR_FILE_NOT_FOUND' })
    await expect(FileDisk.create(join(folder, 'none', 'a.img'), MIB)).rejects.toMatchObject({ code: 'ERR_FILE_NOT_FOUND' })
    await expect(FileDisk.create(newPath(), 1000)).rejects.toMatchObject({ code: 'ERR_BAD_SIZE' })
  })

  test('open for reading changes nothing', async () => {
    const path = newPath()
    await (await FileDisk.create(path, MIB)).close()
    const disk = await FileDisk.open(path, { readOnly: true })
    for (const change of [
      disk.write(0, Buffer.alloc(512)),
      disk.writeDurable(0, Buffer.alloc(512)),
      disk.zero(0, 512),
      disk.punch(0, 512),
      disk.reserve(0, 512),
      disk.trim(0, 512),
    ]) {
      await expect(change).rejects.toMatchObject({ code: 'ERR_READ_ONLY' })
    }
    expect(() => disk.tryLock()).toThrow(expect.objectContaining({ code: 'ERR_READ_ONLY' }))
    expect(await readAll(disk, 0, 512)).toEqual(Buffer.alloc(512))
    expect(disk.fds).toHaveLength(1)
    await disk.close()
  })

  test('a size that is no multiple of 512 counts whole sectors only', async () => {
    const path = newPath()
    await writeFile(path, Buffer.alloc(1300))
    const disk = await FileDisk.open(path)
    expect(disk.size).toBe(1024)
    await disk.close()
  })

  test('a write beyond the end is refused and does not extend the file', async () => {
    const path = newPath()
    const disk = await FileDisk.create(path, MIB)
    await expect(disk.write(MIB - 512, Buffer.alloc(1024))).rejects.toMatchObject({ code: 'ERR_IO' })
    await expect(disk.writeDurable(MIB, Buffer.alloc(512))).rejects.toMatchObject({ code: 'ERR_IO' })
    expect((await stat(path)).size).toBe(MIB)
    await disk.close()
  })
})

describe('transfers (F12)', () => {
  test('512 bytes a call and EINTR before each give the same result', async () => {
    const path = newPath()
    let interrupted = 0
    const cut = (parts: readonly Uint8Array[]): Uint8Array[] => [parts[0]!.subarray(0, 512)]
    const now = Promise.resolve()
    const sometimes = (call: () => void, ended: (error: NodeJS.ErrnoException, bytes: number) => void): void => {
      if (interrupted++ % 2 === 0) void now.then(() => ended(hostErrorOf('EINTR'), 0))
      else call()
    }
    const fileCalls = callsWith({
      read: (fd, into, start, length, at, ended) => sometimes(() => fs.read(fd, into, start, Math.min(512, length), at, ended), ended),
      write: (fd, data, start, length, at, ended) => sometimes(() => fs.write(fd, data, start, Math.min(512, length), at, ended), ended),
      readv: (fd, parts, at, ended) => sometimes(() => fs.readv(fd, cut(parts), at, ended), ended),
      writev: (fd, parts, at, ended) => sometimes(() => fs.writev(fd, cut(parts), at, ended), ended),
      fdatasync: (fd, ended) => (interrupted++ % 2 === 0 ? void now.then(() => ended(hostErrorOf('EINTR'))) : fs.fdatasync(fd, ended)),
    })
    await (await FileDisk.create(path, MIB)).close()
    const disk = await FileDisk.open(path, { fileCalls })
    const data = stamp(0, 65536, 1)
    await disk.write(0, data)
    await disk.writev(65536, [data.subarray(0, 1536), new Uint8Array(0), data.subarray(1536, 4096), data.subarray(4096)])
    await disk.writeDurable(131072, data)
    await disk.flush()
    for (const offset of [0, 65536, 131072]) expect((await readAll(disk, offset, 65536)).equals(data)).toBe(true)
    const parts = [512, 3072, 512, 61440].map(length => Buffer.alloc(length))
    await disk.readv(65536, parts)
    expect(Buffer.concat(parts).equals(data)).toBe(true)
    expect(interrupted).toBeGreaterThan(1000)
    await disk.close()
  })

  test('a file that became shorter is an I/O error, never zeros, and is not extended (F28)', async () => {
    const path = newPath()
    const disk = await FileDisk.create(path, MIB)
    await truncate(path, 5000)
    await expect(disk.read(4096, Buffer.alloc(4096))).rejects.toMatchObject({ code: 'ERR_IO', why: expect.stringContaining('truncated') })
    await expect(disk.readv(4096, [Buffer.alloc(512), Buffer.alloc(4096)])).rejects.toMatchObject({ code: 'ERR_IO' })
    expect(await disk.watchFaults()).toMatchObject({ truncated: true, unlinked: false })
    expect((await stat(path)).size).toBe(5000)
    await disk.close()
  })

  test.each([
    ['EIO', 'ERR_IO'],
    ['ENXIO', 'ERR_IO'],
    ['EREMOTEIO', 'ERR_IO'],
    ['ENOSPC', 'ERR_HOST_FULL'],
    ['EDQUOT', 'ERR_HOST_FULL'],
    ['EFBIG', 'ERR_HOST_FULL'],
    ['ENOMEM', 'ERR_HOST_LIMIT'],
    ['EACCES', 'ERR_HOST_LIMIT'],
  ])('%s is %s and keeps its cause', async (name, code) => {
    const path = newPath()
    await (await FileDisk.create(path, MIB)).close()
    const disk = await FileDisk.open(path, { fileCalls: callsWith({ write: (_fd, _data, _start, _length, _at, ended) => ended(hostErrorOf(name), 0) }) })
    await expect(disk.write(0, Buffer.alloc(512))).rejects.toMatchObject({ code, cause: { code: name }, message: expect.stringContaining(path) })
    await disk.close()
  })

  test('a write that moves nothing is an I/O error and no endless loop', async () => {
    const path = newPath()
    await (await FileDisk.create(path, MIB)).close()
    const disk = await FileDisk.open(path, { fileCalls: callsWith({ write: (_fd, _data, _start, _length, _at, ended) => ended(null, 0) }) })
    await expect(disk.write(0, Buffer.alloc(512))).rejects.toMatchObject({ code: 'ERR_IO' })
    await disk.close()
  })
})

describe('calls at once (hazard 43)', () => {
  test('a disk that hangs takes no more calls than its limit, and flushes and durable writes pass', async () => {
    const path = newPath()
    await (await FileDisk.create(path, MIB)).close()
    const stuck: (() => void)[] = []
    const fileCalls = callsWith({ read: (...args) => void stuck.push(() => fs.read(...args)) })
    const disk = await FileDisk.open(path, { fileCalls, calls: 2 })
    const reads = Array.from({ length: 5 }, (_, index) => disk.read(index * 512, Buffer.alloc(512)))
    await disk.writeDurable(4096, stamp(4096, 512, 1))
    await disk.flush()
    expect(stuck).toHaveLength(2)
    for (let served = 0; served < 5; served++) {
      stuck.shift()!()
      await reads[served]
      expect(stuck.length).toBe(Math.min(2, 4 - served))
    }
    await disk.close()
  })

  test('close waits for what is under way, also for what waits for its turn', async () => {
    const path = newPath()
    await (await FileDisk.create(path, MIB)).close()
    const stuck: (() => void)[] = []
    const disk = await FileDisk.open(path, { fileCalls: callsWith({ write: (...args) => void stuck.push(() => fs.write(...args)) }), calls: 1 })
    const writes = [disk.write(0, stamp(0, 512, 1)), disk.write(512, stamp(512, 512, 1))]
    let closed = false
    const closing = disk.close().then(() => (closed = true))
    await expect(disk.write(1024, Buffer.alloc(512))).rejects.toMatchObject({ code: 'ERR_FAILED' })
    stuck.shift()!()
    await writes[0]
    expect(closed).toBe(false)
    stuck.shift()!()
    await Promise.all([...writes, closing])
    expect(Buffer.compare(await readFile(path).then(found => found.subarray(512, 1024)), stamp(512, 512, 1))).toBe(0)
  })
})

describe('flush', () => {
  test('calls that wait share one fdatasync, and it begins after they came', async () => {
    const path = newPath()
    await (await FileDisk.create(path, MIB)).close()
    const syncs: ((error: NodeJS.ErrnoException | null) => void)[] = []
    const disk = await FileDisk.open(path, { fileCalls: callsWith({ fdatasync: (_fd, ended) => void syncs.push(ended) }) })
    const first = disk.flush()
    const others = [disk.flush(), disk.flush(), disk.flush()]
    expect(syncs).toHaveLength(1)
    syncs[0]!(null)
    await first
    expect(syncs).toHaveLength(2)
    syncs[1]!(null)
    await Promise.all(others)
    expect(syncs).toHaveLength(2)
    await disk.close()
  })

  test('one that fails fails those that wait behind it: the kernel tells a loss only once (F11)', async () => {
    const path = newPath()
    await (await FileDisk.create(path, MIB)).close()
    const syncs: ((error: NodeJS.ErrnoException | null) => void)[] = []
    const disk = await FileDisk.open(path, { fileCalls: callsWith({ fdatasync: (_fd, ended) => void syncs.push(ended) }) })
    const flushes = [disk.flush(), disk.flush(), disk.flush()].map(flush => expect(flush).rejects.toMatchObject({ code: 'ERR_IO', cause: { code: 'EIO' } }))
    syncs[0]!(hostErrorOf('EIO'))
    await Promise.all(flushes)
    expect(syncs).toHaveLength(1)
    const later = disk.flush()
    syncs[1]!(null)
    await later
    await disk.close()
  })

  test('writeDurable goes through a descriptor opened O_DSYNC, plain writes do not', async () => {
    const path = newPath()
    await (await FileDisk.create(path, MIB)).close()
    const used: number[] = []
    const disk = await FileDisk.open(path, { fileCalls: callsWith({ write: (fd, ...args) => (used.push(fd), fs.write(fd, ...args)) }) })
    await disk.write(0, Buffer.alloc(512))
    await disk.writeDurable(512, Buffer.alloc(512))
    expect(used).toEqual(disk.fds)
    const synced = await Promise.all(used.map(async fd => /^flags:\s*([0-7]+)/m.exec(await readFile(`/proc/self/fdinfo/${fd}`, 'utf8'))![1]!))
    expect(synced.map(flags => (Number.parseInt(flags, 8) & fs.constants.O_DSYNC) !== 0)).toEqual([false, true])
    await disk.close()
  })
})

describe('space', () => {
  test('reserve takes blocks, punch gives them back, zero keeps them', async () => {
    const path = newPath()
    const disk = await FileDisk.create(path, 8 * MIB)
    const blocks = async (): Promise<number> => (await stat(path)).blocks * 512
    await disk.reserve(0, 4 * MIB)
    await disk.flush()
    expect(await blocks()).toBeGreaterThanOrEqual(4 * MIB)
    await disk.write(0, stamp(0, 4 * MIB, 1))
    await disk.flush()
    await disk.zero(0, 2 * MIB)
    expect(await blocks()).toBeGreaterThanOrEqual(4 * MIB)
    await disk.punch(0, 3 * MIB)
    await disk.flush()
    expect(await blocks()).toBeLessThan(1.5 * MIB)
    expect((await stat(path)).size).toBe(8 * MIB)
    await disk.close()
  })

  test('extents show holes where nothing was written', async () => {
    const disk = await FileDisk.create(newPath(), 8 * MIB)
    await disk.write(2 * MIB, stamp(0, MIB, 1))
    await disk.flush()
    expect(await disk.extents(0, 8 * MIB)).toEqual([
      { offset: 0, length: 2 * MIB, kind: 'hole' },
      { offset: 2 * MIB, length: MIB, kind: 'data' },
      { offset: 3 * MIB, length: 5 * MIB, kind: 'hole' },
    ])
    expect(await disk.extents(2 * MIB + 512, 1024)).toEqual([{ offset: 2 * MIB + 512, length: 1024, kind: 'data' }])
    expect(await disk.extents(512, 1024)).toEqual([{ offset: 512, length: 1024, kind: 'hole' }])
    await disk.close()
  })
})

describe('a host without space or descriptors is never a failed disk (F08, F34, hazard 12)', () => {
  const canMount = isRoot && spawnSync('sh', ['-c', 'd=$(mktemp -d) && mount -t tmpfs none "$d" && umount "$d"; r=$?; rmdir "$d"; exit $r']).status === 0

  test.runIf(canMount)('a full file system: ERR_HOST_FULL on reserve and write, space freed makes writes go on', async () => {
    const mount = join(folder, 'small')
    await mkdir(mount)
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'none', mount])
    try {
      await writeFile(join(mount, 'filler'), Buffer.alloc(1.5 * MIB))
      const disk = await FileDisk.create(join(mount, 'a.img'), 16 * MIB)
      await expect(disk.reserve(0, 4 * MIB)).rejects.toMatchObject({ code: 'ERR_HOST_FULL', cause: { code: 'ENOSPC' } })
      await expect(disk.write(0, Buffer.alloc(MIB))).rejects.toMatchObject({ code: 'ERR_HOST_FULL' })
      await unlink(join(mount, 'filler'))
      await disk.write(0, stamp(0, MIB, 1))
      expect((await readAll(disk, 0, MIB)).equals(stamp(0, MIB, 1))).toBe(true)
      await disk.close()
    } finally {
      execFileSync('umount', [mount])
    }
  })

  test('limits of the process', async () => {
    const child = await bundle(`
      import { FileDisk } from './src/core/block/file.ts'
      const [what, path] = process.argv.slice(2)
      try {
        if (what === 'size') await FileDisk.create(path, 1 << 20)
        else for (let i = 0; i < 100; i++) await FileDisk.open(path)
        console.log('no error')
      } catch (error) {
        console.log(error.code, error.cause?.code)
      }
    `)
    try {
      const path = newPath()
      expect(await runLimited('ulimit -f 64', child.path, 'size', path)).toBe('ERR_HOST_FULL EFBIG')
      expect(fs.existsSync(path)).toBe(false)
      await writeFile(path, Buffer.alloc(4096))
      expect(await runLimited('ulimit -n 40', child.path, 'descriptors', path)).toBe('ERR_HOST_LIMIT EMFILE')
    } finally {
      await child.remove()
    }
  })
})

describe('locks (F26)', () => {
  test('one holder a range, by descriptor, also inside of one process', async () => {
    const path = newPath()
    const first = await FileDisk.create(path, MIB)
    const second = await FileDisk.open(path)
    expect(first.tryLock()).toBe(true)
    expect(first.tryLock()).toBe(true)
    expect(second.tryLock()).toBe(false)
    expect(second.tryLock(65536, 4096)).toBe(true)
    first.unlock()
    expect(second.tryLock()).toBe(true)
    await second.close()
    expect(first.tryLock()).toBe(true)
    await first.close()
  })

  test('a child that inherits the descriptors holds the lock after the parent closed, and its death ends it (hazard 39)', async () => {
    const path = newPath()
    const disk = await FileDisk.create(path, MIB)
    expect(disk.tryLock()).toBe(true)
    const child = spawn(process.execPath, ['-e', 'process.stdin.resume()'], { stdio: ['pipe', 'ignore', 'inherit', ...disk.fds] })
    await once(child, 'spawn')
    await disk.close()
    const other = await FileDisk.open(path)
    expect(other.tryLock()).toBe(false)
    child.kill('SIGKILL')
    await once(child, 'exit')
    expect(other.tryLock()).toBe(true)
    await other.close()
  })

  test('inherited descriptors become a disk that holds the lock', async () => {
    const path = newPath()
    const child = await bundle(`
      import { FileDisk } from './src/core/block/file.ts'
      const disk = await FileDisk.fromDescriptors(process.argv[2], 3, 4)
      await disk.writeDurable(8192, Buffer.alloc(512, 7))
      const other = await FileDisk.open(process.argv[2])
      console.log(disk.identity === other.identity, disk.size, disk.tryLock(), other.tryLock())
      await disk.close()
      console.log(other.tryLock())
    `)
    try {
      const disk = await FileDisk.create(path, MIB)
      disk.tryLock()
      const process_ = spawn(process.execPath, [child.path, path], { stdio: ['ignore', 'pipe', 'inherit', ...disk.fds] })
      await disk.close()
      let text = ''
      process_.stdout!.setEncoding('utf8').on('data', (part: string) => (text += part))
      await once(process_, 'close')
      expect(text).toBe(`true ${MIB} true false\ntrue\n`)
      expect((await readFile(path))[8192]).toBe(7)
    } finally {
      await child.remove()
    }
  })

  test('descriptors of two files are refused and closed', async () => {
    const fds = [newPath(), newPath()].map(path => fs.openSync(path, 'wx+'))
    await expect(FileDisk.fromDescriptors('a', fds[0]!, fds[1]!)).rejects.toMatchObject({ code: 'ERR_IO' })
    for (const fd of fds) expect(() => fs.fstatSync(fd)).toThrow('EBADF')
  })
})

describe('a file that is taken away while open (F35)', () => {
  test('unlinked, replaced, chmod-ed: reported, served on, never made again', async () => {
    const path = newPath()
    const disk = await FileDisk.create(path, MIB)
    const well = { unlinked: false, replaced: false, truncated: false, permissions: false }
    expect(await disk.watchFaults()).toEqual(well)
    await chmod(path, 0o400)
    expect(await disk.watchFaults()).toEqual({ ...well, permissions: true })
    await chmod(path, 0o600)
    await rename(path, `${path}.moved`)
    expect(await disk.watchFaults()).toEqual({ ...well, replaced: true })
    await writeFile(path, 'another')
    expect(await disk.watchFaults()).toEqual({ ...well, replaced: true })
    await rename(`${path}.moved`, path)
    expect(await disk.watchFaults()).toEqual(well)
    await unlink(path)
    expect(await disk.watchFaults()).toEqual({ ...well, unlinked: true, replaced: true })
    await disk.write(0, stamp(0, 4096, 1))
    await disk.flush()
    expect((await readAll(disk, 0, 4096)).equals(stamp(0, 4096, 1))).toBe(true)
    expect(fs.existsSync(path)).toBe(false)
    await disk.close()
  })
})

/** Makes a loop device over a file; undefined where that cannot be done. */
function attachLoop(): string | undefined {
  const backing = newPath()
  fs.writeFileSync(backing, '')
  fs.truncateSync(backing, 4 * MIB)
  const loop = spawnSync('losetup', ['-f', '--show', backing], { encoding: 'utf8' })
  return loop.status === 0 ? loop.stdout.trim() : undefined
}
const detachLoop = (path: string): void => void execFileSync('losetup', ['-d', path])

const probe = isRoot ? attachLoop() : undefined
if (probe) detachLoop(probe)

describe.runIf(probe)('block devices', () => {
  let path: string
  beforeAll(() => {
    path = attachLoop()!
  })
  afterAll(() => detachLoop(path))

  diskSuite(
    'FileDisk on a loop device',
    async () => {
      const device = await FileDisk.open(path)
      await device.zero(0, device.size)
      return { device, again: () => FileDisk.open(path), dispose: () => device.close() }
    },
    5,
  )

  test('size comes from the kernel, identity from the device, and O_EXCL keeps a second user out', async () => {
    const disk = await FileDisk.open(path, { exclusive: true })
    expect(disk.size).toBe(4 * MIB)
    expect(disk.identity).toMatch(/^block:\d+$/)
    expect(disk.isBlockDevice).toBe(true)
    await expect(FileDisk.open(path, { exclusive: true })).rejects.toMatchObject({ code: 'ERR_BUSY' })
    await disk.close()
  })
})

test('no descriptor is left open', async () => {
  const count = (): number => fs.readdirSync('/proc/self/fd').length
  const path = newPath()
  await (await FileDisk.create(path, MIB)).close()
  const before = count()
  const disks = await Promise.all(Array.from({ length: 20 }, () => FileDisk.open(path)))
  await Promise.all(disks.map(disk => disk.close()))
  await expect(FileDisk.create(path, MIB)).rejects.toMatchObject({ code: 'ERR_EXISTS' })
  expect(count()).toBe(before)
})

describe('long writes from page memory', () => {
  const [pages] = alignedBuffers(1, 2 * MIB) as [Buffer]
  for (let at = 0; at < pages.length; at++) pages[at] = (at * 7 + (at >> 12)) & 255
  const dataFd = (disk: FileDisk): number => disk.fds[0]!

  /** A disk, and the descriptors that its writes went to. */
  const watched = async (replaced: Partial<FileCalls> = {}): Promise<{ disk: FileDisk; used: number[] }> => {
    const used: number[] = []
    const write: FileCalls['write'] = (fd, ...rest) => {
      used.push(fd)
      ;(replaced.write ?? fs.write)(fd, ...rest)
    }
    return { disk: await FileDisk.create(newPath(), 8 * MIB, { fileCalls: callsWith({ ...replaced, write }) }), used }
  }

  test('are read back at once, also over and under what went through the page cache', async () => {
    const disk = await FileDisk.create(newPath(), 8 * MIB)
    await disk.write(MIB - 512, Buffer.alloc(MIB, 1))
    await readAll(disk, 0, 8 * MIB)
    await disk.writev(MIB, [pages.subarray(0, 64 * 1024), pages.subarray(64 * 1024, MIB)])
    await disk.write(MIB + 512, Buffer.alloc(512, 2))
    const back = await readAll(disk, MIB - 512, MIB + 512)
    const wanted = Buffer.concat([Buffer.alloc(512, 1), pages.subarray(0, MIB)])
    wanted.fill(2, 1024, 1536)
    expect(back.equals(wanted)).toBe(true)
    await disk.close()
  })

  test('take a descriptor of their own, and short, odd or foreign ones do not', async () => {
    const { disk, used } = await watched()
    await disk.write(4096, pages.subarray(0, MIB))
    expect(used).toHaveLength(1)
    const flags = Number.parseInt(/^flags:\s+(\d+)/m.exec(fs.readFileSync(`/proc/self/fdinfo/${used[0]}`, 'utf8'))![1]!, 8)
    expect((flags & fs.constants.O_DIRECT) !== 0 || used[0] === dataFd(disk)).toBe(true)
    used.length = 0
    await disk.write(512, pages.subarray(0, MIB))
    await disk.write(0, pages.subarray(512, MIB + 512))
    await disk.write(0, pages.subarray(0, MIB + 512))
    await disk.write(0, pages.subarray(0, 4096))
    await disk.write(0, Buffer.alloc(MIB))
    expect(used).toEqual(Array.from({ length: 5 }, () => dataFd(disk)))
    await disk.close()
  })

  test('take the usual way where the host refuses them, and fail with its other errors', async () => {
    const refusing: Partial<FileCalls> = {
      write: (fd, data, start, length, at, ended) => {
        const isDirect = fd !== allowed
        if (isDirect) ended(hostErrorOf(code), 0)
        else fs.write(fd, data, start, length, at, ended)
      },
    }
    let allowed = -1
    let code = 'EINVAL'
    const { disk, used } = await watched(refusing)
    allowed = dataFd(disk)
    await disk.write(0, pages)
    await disk.write(2 * MIB, pages)
    expect(used.slice(-2)).toEqual([allowed, allowed])
    expect((await readAll(disk, 2 * MIB, 2 * MIB)).equals(pages)).toBe(true)
    await disk.close()
    code = 'EIO'
    const { disk: broken, used: tried } = await watched(refusing)
    allowed = dataFd(broken)
    const outcome = await broken.write(0, pages).then(
      () => 'written',
      (error: unknown) => (error as { code: string }).code,
    )
    expect(outcome).toBe(tried.every(fd => fd === allowed) ? 'written' : 'ERR_IO')
    await broken.close()
  })

  test('leave no descriptor open', async () => {
    const before = fs.readdirSync('/proc/self/fd').length
    const { disk } = await watched()
    await Promise.all([disk.write(0, pages), disk.write(4 * MIB, pages), disk.close()])
    expect(fs.readdirSync('/proc/self/fd').length).toBe(before)
  })
})

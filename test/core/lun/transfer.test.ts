import { execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import fs from 'node:fs'
import { mkdtemp, open, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Readable, Writable } from 'node:stream'
import { afterAll, describe, expect, test, vi } from 'vitest'
import { LunarError } from '../../../src/core/base/errors.ts'
import { Random } from '../../../src/core/base/random.ts'
import { BlockLayer, type BlockDevice } from '../../../src/core/block/device.ts'
import { MemoryDevice } from '../../../src/core/block/memory.ts'
import { Scheduler, SimulatedDisk } from '../../../src/core/block/simulated.ts'
import { exportFrom, importInto, sourceSize, type TransferProgress } from '../../../src/core/lun/transfer.ts'

const MIB = 1024 * 1024
const folder = await mkdtemp(join(tmpdir(), 'lunar-transfer-'))
afterAll(() => rm(folder, { recursive: true }))
let made = 0
const newPath = (): string => join(folder, `file${made++}`)

const bytes = async (device: BlockDevice, offset: number, length: number): Promise<Buffer> => {
  const into = Buffer.alloc(length)
  for (let at = 0; at < length; at += MIB) await device.read(offset + at, into.subarray(at, Math.min(at + MIB, length)))
  return into
}

/** 5 MiB of data at 1 MiB, and at 19 MiB some that ends at an odd byte; the rest holes. */
async function sparseFile(): Promise<{ path: string; data: Buffer; size: number }> {
  const path = newPath()
  const size = 20 * MIB + 777
  const data = Buffer.alloc(size)
  randomBytes(5 * MIB).copy(data, MIB)
  randomBytes(MIB + 777).copy(data, 19 * MIB)
  await using file = await open(path, 'wx')
  await file.truncate(size)
  await file.write(data, MIB, 5 * MIB, MIB)
  await file.write(data, 19 * MIB, MIB + 777, 19 * MIB)
  await file.sync()
  return { path, data, size }
}

/** Notes and changes what goes through it. */
class Watched extends BlockLayer {
  readonly calls: string[] = []
  inFlight = 0
  writeFault: (() => Promise<never>) | undefined
  override async write(offset: number, data: Uint8Array): Promise<void> {
    this.calls.push(`write ${offset}+${data.length}`)
    this.inFlight++
    try {
      await this.writeFault?.()
      await this.next.write(offset, data)
      await new Promise(resolve => setImmediate(resolve))
    } finally {
      this.inFlight--
    }
  }
  override async flush(): Promise<void> {
    this.calls.push('flush')
    await this.next.flush()
  }
}

describe('import', () => {
  test('a sparse file: data, holes that stay holes, padding, flush, progress', async () => {
    const { path, data, size } = await sparseFile()
    const device = new Watched(new MemoryDevice(32 * MIB))
    await device.write(0, Buffer.alloc(MIB, 1)) // to be cleared by the first hole
    await device.write(size - 777, Buffer.alloc(4096, 1)) // to be cleared up to the end of its sector by the padding
    const seen: TransferProgress[] = []
    const result = await importInto(device, path, { verify: true, onProgress: progress => void seen.push(progress) })
    expect(result).toMatchObject({ size, moved: 6 * MIB + 777, holes: 14 * MIB, verified: true })
    expect((await bytes(device, 0, size)).equals(data)).toBe(true)
    const after = await bytes(device, 20 * MIB, 4096)
    expect(after.subarray(777, 1024).every(byte => byte === 0)).toBe(true)
    expect(after.subarray(1024).every(byte => byte === 1)).toBe(true)
    const holes = (await device.extents(0, 19 * MIB)).filter(extent => extent.kind === 'hole')
    expect(holes).toEqual([
      { offset: 0, length: MIB, kind: 'hole' },
      { offset: 6 * MIB, length: 13 * MIB, kind: 'hole' },
    ])
    expect(device.calls.at(-1)).toBe('flush')
    expect(seen.at(-1)).toEqual({ done: size, total: size, moved: 6 * MIB + 777 })
    expect(seen.every((progress, index) => index === 0 || progress.done > seen[index - 1]!.done)).toBe(true)
  })

  test('a chunk does not wait for the one before it', async () => {
    const path = newPath()
    const data = randomBytes(20 * MIB)
    await writeFile(path, data)
    let goOn!: () => void
    const secondWrite = new Promise<void>(resolve => {
      goOn = resolve
    })
    class FirstWaits extends BlockLayer {
      private count = 0
      override async write(offset: number, part: Uint8Array): Promise<void> {
        if (++this.count === 1) await secondWrite
        else goOn()
        await this.next.write(offset, part)
      }
    }
    const device = new MemoryDevice(20 * MIB)
    await importInto(new FirstWaits(device), path)
    expect((await bytes(device, 0, data.length)).equals(data)).toBe(true)
  })

  test('at an offset, in blocks of 4 KiB', async () => {
    const { path, data, size } = await sparseFile()
    const device = new MemoryDevice(32 * MIB, 4096)
    await importInto(device, path, { offset: 5 * MIB + 4096, verify: true })
    expect((await bytes(device, 5 * MIB + 4096, 21 * MIB)).subarray(0, size).equals(data)).toBe(true)
  })

  test('a pipe: chunks of any length, zeros that become holes', async () => {
    const { data, size } = await sparseFile()
    const chunks: Buffer[] = []
    for (let at = 0, length = 1; at < size; at += length, length = (length * 7 + 13) % 300000) chunks.push(data.subarray(at, at + length))
    const memory = new MemoryDevice(32 * MIB)
    await memory.write(8 * MIB, Buffer.alloc(MIB, 1))
    const result = await importInto(memory, '-', { stdin: Readable.from(chunks), verify: true })
    expect(result).toMatchObject({ size, verified: true, holes: 14 * MIB })
    expect((await bytes(memory, 0, size)).equals(data)).toBe(true)
    expect(memory.allocated).toBeLessThan(7 * MIB)
  })

  test('a file without holes: blocks of zeros become holes, whatever was there, and one byte keeps a block', async () => {
    const path = newPath()
    const data = Buffer.alloc(20 * MIB + 777)
    randomBytes(2 * MIB).copy(data, MIB)
    data[5 * MIB] = 1
    data[7 * MIB - 1] = 1
    await writeFile(path, data)
    const device = new Watched(new MemoryDevice(32 * MIB))
    await device.write(2 * MIB, Buffer.alloc(8 * MIB, 7))
    const result = await importInto(device, path, { verify: true })
    expect(result).toMatchObject({ size: data.length, moved: 4 * MIB, holes: 16 * MIB + 777, verified: true })
    expect((await bytes(device, 0, data.length)).equals(data)).toBe(true)
    const holes = (await device.extents(0, 20 * MIB)).filter(extent => extent.kind === 'hole').reduce((sum, extent) => sum + extent.length, 0)
    expect(holes).toBe(16 * MIB)
    expect(device.calls.slice(1, -1).sort()).toEqual([`write ${MIB}+${2 * MIB}`, `write ${5 * MIB}+${2 * MIB}`])
  })

  test('a named pipe and an empty file', async () => {
    const fifo = newPath()
    execFileSync('mkfifo', [fifo])
    const data = randomBytes(3 * MIB + 5)
    expect(await sourceSize(fifo)).toBe(null)
    const device = new MemoryDevice(8 * MIB)
    const [result] = await Promise.all([importInto(device, fifo, { verify: true }), writeFile(fifo, data)])
    expect(result).toMatchObject({ size: data.length, moved: data.length, verified: true })
    expect((await bytes(device, 0, data.length + 507)).subarray(0, data.length).equals(data)).toBe(true)
    const empty = newPath()
    await writeFile(empty, '')
    expect(await importInto(device, empty, { verify: true })).toMatchObject({ size: 0, moved: 0, holes: 0 })
  })

  test('refuses what does not fit, before or when it shows, and what is not there', async () => {
    const device = new Watched(new MemoryDevice(2 * MIB))
    const path = newPath()
    await writeFile(path, Buffer.alloc(2 * MIB + 1, 1))
    await expect(importInto(device, path)).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
    expect(device.calls).toEqual([])
    await expect(importInto(device, '-', { stdin: Readable.from([Buffer.alloc(2 * MIB, 1), Buffer.alloc(1, 1)]) })).rejects.toMatchObject({
      code: 'ERR_OUT_OF_RANGE',
    })
    await expect(importInto(device, newPath())).rejects.toMatchObject({ code: 'ERR_FILE_NOT_FOUND' })
    await expect(sourceSize(newPath())).rejects.toMatchObject({ code: 'ERR_FILE_NOT_FOUND' })
    expect(await sourceSize(path)).toBe(2 * MIB + 1)
    expect(await sourceSize('-')).toBe(null)
  })

  test('verify finds one changed bit, in data, in holes, and behind a pipe', async () => {
    const { path, data, size } = await sparseFile()
    for (const [source, broken] of [
      ['file', 2 * MIB + 5],
      ['file', 10 * MIB],
      ['file', size + 10],
      ['pipe', 2 * MIB + 5],
      ['pipe', size + 10],
    ] as const) {
      class Flipping extends BlockLayer {
        override async flush(): Promise<void> {
          const sector = Buffer.alloc(512)
          const offset = broken - (broken % 512)
          await this.next.read(offset, sector)
          sector[broken % 512]! ^= 4
          await this.next.write(offset, sector)
        }
      }
      const device = new Flipping(new MemoryDevice(32 * MIB))
      const imported = source === 'file' ? importInto(device, path, { verify: true }) : importInto(device, '-', { stdin: Readable.from([data]), verify: true })
      await expect(imported, `${source} at ${broken}`).rejects.toMatchObject({ code: 'ERR_VERIFY_MISMATCH' })
    }
  })

  test('a stop at a chunk leaves nothing in flight and no flush; nothing is open', async () => {
    const path = newPath()
    await writeFile(path, randomBytes(40 * MIB))
    const before = fs.readdirSync('/proc/self/fd').length
    const stop = new AbortController()
    const device = new Watched(new MemoryDevice(64 * MIB))
    await expect(importInto(device, path, { signal: stop.signal, onProgress: () => stop.abort() })).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' })
    expect(device.inFlight).toBe(0)
    expect(device.calls).not.toContain('flush')
    expect(device.calls.length).toBeLessThan(10)
    expect(fs.readdirSync('/proc/self/fd').length).toBe(before)
  })

  test('a stop also ends the wait for a pipe that gives nothing', async () => {
    const stop = new AbortController()
    const stdin = new PassThrough()
    stdin.write(Buffer.alloc(100))
    const imported = importInto(new MemoryDevice(8 * MIB), '-', { stdin, signal: stop.signal })
    setImmediate(() => stop.abort())
    await expect(imported).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' })
    expect(stdin.destroyed).toBe(true)
  })

  test('an error of the device ends the import with that error, also while the pipe gives nothing', async () => {
    const full = new LunarError('ERR_POOL_FULL', 'made by the test')
    const device = new Watched(new MemoryDevice(32 * MIB))
    device.writeFault = async () => {
      await new Promise(resolve => setImmediate(resolve)) // by then the next worker waits for the pipe
      throw full
    }
    const stdin = new PassThrough()
    stdin.write(randomBytes(4 * MIB))
    await expect(importInto(device, '-', { stdin })).rejects.toBe(full)
    expect(device.inFlight).toBe(0)
    const path = newPath()
    await writeFile(path, randomBytes(20 * MIB))
    await expect(importInto(device, path)).rejects.toBe(full)
    expect(device.inFlight).toBe(0)
  })

  test('a source that is cut while it is read is an I/O error', async () => {
    const path = newPath()
    await writeFile(path, Buffer.alloc(128 * MIB, 1)) // twice what is in flight
    const imported = importInto(new MemoryDevice(128 * MIB), path, { onProgress: () => fs.truncateSync(path, MIB) })
    await expect(imported).rejects.toMatchObject({ code: 'ERR_IO' })
  })

  test('what import acknowledged survives a power loss', async () => {
    const path = newPath()
    const data = randomBytes(3 * MIB)
    await writeFile(path, data)
    const disk = new SimulatedDisk(8 * MIB)
    await importInto(disk, path)
    disk.dropUnflushed()
    expect((await bytes(disk, 0, data.length)).equals(data)).toBe(true)
  })
})

describe('export', () => {
  async function filledDevice(): Promise<{ device: MemoryDevice; data: Buffer }> {
    const device = new MemoryDevice(24 * MIB)
    const data = Buffer.alloc(24 * MIB)
    for (const [offset, length] of [
      [MIB, 5 * MIB],
      [20 * MIB - 512, 1024],
    ] as const) {
      randomBytes(length).copy(data, offset)
      await device.write(offset, data.subarray(offset, offset + length))
    }
    return { device, data }
  }

  test('to a new file: equal, sparse, private, verified', async () => {
    const { device, data } = await filledDevice()
    const path = newPath()
    const seen: TransferProgress[] = []
    const result = await exportFrom(device, path, { verify: true, onProgress: progress => void seen.push(progress) })
    expect((await readFile(path)).equals(data)).toBe(true)
    const stats = await stat(path)
    expect(stats.mode & 0o777).toBe(0o600)
    expect(stats.blocks * 512).toBeLessThan(7 * MIB)
    expect(result).toMatchObject({ size: 24 * MIB, verified: true, moved: 5 * MIB + 8192, holes: 19 * MIB - 8192 })
    expect(seen.at(-1)).toEqual({ done: 24 * MIB, total: 24 * MIB, moved: 5 * MIB + 8192 })
  })

  test('a range, into an empty file', async () => {
    const { device, data } = await filledDevice()
    const path = newPath()
    await writeFile(path, '')
    await exportFrom(device, path, { offset: 3 * MIB + 512, length: 2 * MIB, verify: true })
    expect((await readFile(path)).equals(data.subarray(3 * MIB + 512, 5 * MIB + 512))).toBe(true)
    await expect(exportFrom(device, newPath(), { offset: 23 * MIB, length: 2 * MIB })).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
  })

  test('never over what is there, unless asked', async () => {
    const { device, data } = await filledDevice()
    const path = newPath()
    await writeFile(path, Buffer.alloc(30 * MIB, 1))
    await expect(exportFrom(device, path)).rejects.toMatchObject({ code: 'ERR_NOT_EMPTY' })
    expect((await readFile(path)).every(byte => byte === 1)).toBe(true)
    await exportFrom(device, path, { overwrite: true, verify: true })
    expect((await readFile(path)).equals(data)).toBe(true)
    await expect(exportFrom(device, folder, { overwrite: true })).rejects.toMatchObject({ code: 'ERR_FAILED' })
    await expect(exportFrom(device, join(folder, 'none', 'a'))).rejects.toMatchObject({ code: 'ERR_FILE_NOT_FOUND' })
  })

  test('to a pipe: all of it in order, zeros for holes, a slow reader slows it down', async () => {
    const { device, data } = await filledDevice()
    const parts: Buffer[] = []
    let waiting = 0
    const slow = new Writable({
      highWaterMark: 1,
      write(part: Buffer, _encoding, done) {
        waiting++
        setImmediate(() => {
          parts.push(Buffer.from(part)) // copied late: a buffer used again too early would show
          waiting--
          done()
        })
      },
    })
    const result = await exportFrom(device, '-', { stdout: slow })
    expect(Buffer.concat(parts).equals(data)).toBe(true)
    expect(waiting).toBe(0)
    expect(result).toMatchObject({ size: 24 * MIB, verified: false })
    expect(slow.writableEnded).toBe(false)
  })

  test('a reader that goes away', async () => {
    const { device } = await filledDevice()
    const child = spawn('head', ['-c', '100'], { stdio: ['pipe', 'ignore', 'inherit'] })
    await expect(exportFrom(device, '-', { stdout: child.stdin })).rejects.toMatchObject({ code: 'ERR_PIPE_CLOSED' })
    if (child.exitCode === null) await once(child, 'exit')
  })

  test('a stop removes the new file, closes it, and ends the wait for a reader', async () => {
    const { device } = await filledDevice()
    const before = fs.readdirSync('/proc/self/fd').length
    const path = newPath()
    const stop = new AbortController()
    await expect(exportFrom(device, path, { signal: stop.signal, onProgress: () => stop.abort() })).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' })
    expect(fs.existsSync(path)).toBe(false)
    const again = new AbortController()
    const stuck = new Writable({ write: () => void setImmediate(() => again.abort()) })
    await expect(exportFrom(device, '-', { stdout: stuck, signal: again.signal })).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' })
    expect(fs.readdirSync('/proc/self/fd').length).toBe(before)
  })

  test('reads that end in any order are written in order, and nothing follows one that fails', async () => {
    const data = randomBytes(8 * MIB)
    for (let seed = 0; seed < 10; seed++) {
      const disk = new SimulatedDisk(8 * MIB)
      for (let at = 0; at < data.length; at += MIB) await disk.write(at, data.subarray(at, at + MIB))
      disk.scheduler = new Scheduler(new Random(seed))
      for (const failing of [undefined, seed % 8]) {
        if (failing !== undefined) disk.plan = ({ offset }) => (offset === failing * MIB ? new LunarError('ERR_IO', 'made by the test') : undefined)
        const parts: Buffer[] = []
        const target = new Writable({ write: (part: Buffer, _encoding, done) => (parts.push(Buffer.from(part)), done()) })
        const code = await exportFrom(disk, '-', { stdout: target }).then(
          () => 'none',
          (error: unknown) => (error as LunarError).code,
        )
        const found = Buffer.concat(parts)
        expect(code, `seed ${seed}`).toBe(failing === undefined ? 'none' : 'ERR_IO')
        expect(found.equals(data.subarray(0, found.length)), `order, seed ${seed}`).toBe(true)
        if (failing === undefined) expect(found.length).toBe(data.length)
        else expect(found.length, `seed ${seed}`).toBeLessThanOrEqual(failing * MIB)
      }
    }
  })

  test('a file is flushed after its last write', async () => {
    const { device } = await filledDevice()
    const calls: string[] = []
    const spies = [
      vi.spyOn(fs, 'fdatasync').mockImplementation((_fd, ended) => (calls.push('flush'), ended(null))),
      vi.spyOn(fs, 'write').mockImplementation(((
        _fd: number,
        _data: Uint8Array,
        _start: number,
        length: number,
        _at: number,
        ended: (error: null, bytes: number) => void,
      ) => {
        calls.push('write')
        ended(null, length)
      }) as never),
      vi.spyOn(fs, 'writeSync').mockImplementation(((_fd: number, data: Uint8Array) => (calls.push('write'), data.length)) as never),
    ]
    try {
      await exportFrom(device, newPath())
    } finally {
      for (const spy of spies) spy.mockRestore()
    }
    expect(calls.filter(call => call === 'flush')).toHaveLength(1)
    expect(calls.length).toBeGreaterThan(2)
    expect(calls.at(-1)).toBe('flush')
  })

  test('nothing follows a part that could not be read', async () => {
    const data = randomBytes(8 * MIB)
    const disk = new SimulatedDisk(8 * MIB)
    for (let at = 0; at < data.length; at += MIB) await disk.write(at, data.subarray(at, at + MIB))
    disk.plan = ({ kind, offset, length }) =>
      kind === 'read' && offset <= 3 * MIB && offset + length > 3 * MIB ? new LunarError('ERR_IO', 'made by the test') : undefined
    const parts: Buffer[] = []
    const target = new Writable({ write: (part: Buffer, _encoding, done) => (parts.push(Buffer.from(part)), setImmediate(done)) })
    await expect(exportFrom(disk, '-', { stdout: target })).rejects.toMatchObject({ code: 'ERR_IO' })
    const found = Buffer.concat(parts)
    expect(found.equals(data.subarray(0, found.length))).toBe(true)
    expect(found.length).toBeLessThanOrEqual(3 * MIB)
    const path = newPath()
    await expect(exportFrom(disk, path)).rejects.toMatchObject({ code: 'ERR_IO' })
    expect(fs.existsSync(path)).toBe(false)
  })

  test('there and back again', async () => {
    const { path, data, size } = await sparseFile()
    const device = new MemoryDevice(21 * MIB)
    await importInto(device, path)
    const back = newPath()
    await exportFrom(device, back, { verify: true })
    await truncate(back, size)
    expect((await readFile(back)).equals(data)).toBe(true)
  })
})

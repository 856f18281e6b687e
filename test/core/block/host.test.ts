import { statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { describe, expect, test } from 'vitest'
import { LunarError } from '../../../src/core/base/errors.ts'
import { CallGate, callsPerDisk } from '../../../src/core/block/call-gate.ts'
import { fileSystemOf, fuseFileSystem, hostError, isLocal, shortTransfer } from '../../../src/core/block/host.ts'

const systemError = (code: string): Error => Object.assign(new Error(`${code}: made by the test`), { code })

describe('errors of the host', () => {
  test.each([
    ['EIO', 'ERR_IO'],
    ['ENXIO', 'ERR_IO'],
    ['EREMOTEIO', 'ERR_IO'],
    ['ENODATA', 'ERR_IO'],
    ['ENOSPC', 'ERR_HOST_FULL'],
    ['EDQUOT', 'ERR_HOST_FULL'],
    ['EFBIG', 'ERR_HOST_FULL'],
    ['EMFILE', 'ERR_HOST_LIMIT'],
    ['ENFILE', 'ERR_HOST_LIMIT'],
    ['ENOMEM', 'ERR_HOST_LIMIT'],
    ['EACCES', 'ERR_HOST_LIMIT'],
    ['EPERM', 'ERR_HOST_LIMIT'],
    ['EROFS', 'ERR_HOST_LIMIT'],
    ['ENOENT', 'ERR_FILE_NOT_FOUND'],
    ['EEXIST', 'ERR_EXISTS'],
    ['EPIPE', 'ERR_PIPE_CLOSED'],
    ['EINVAL', 'ERR_FAILED'],
  ])('%s is %s', (name, code) => {
    const cause = systemError(name)
    expect(hostError('Cannot write to a.img', cause)).toMatchObject({ code, cause, message: 'Cannot write to a.img', why: cause.message })
  })

  test('an error of ours stays, a foreign one becomes ERR_FAILED, a short transfer is ERR_IO', () => {
    const ours = new LunarError('ERR_POOL_FULL', 'full')
    expect(hostError('Cannot write', ours)).toBe(ours)
    expect(hostError('Cannot write', new TypeError('odd')).code).toBe('ERR_FAILED')
    expect(shortTransfer('Cannot read', 512)).toMatchObject({ code: 'ERR_IO', why: 'truncated: nothing could be transferred at byte 512' })
  })
})

describe('file systems (F27)', () => {
  test('the one of the temporary folder is local and known by its number', async () => {
    expect(await isLocal(tmpdir())).toBe(true)
    expect((await fileSystemOf(tmpdir())).type).toBe(`0x${(await statfs(tmpdir())).type.toString(16)}`)
    await expect(fileSystemOf('/nowhere/at/all')).rejects.toMatchObject({ code: 'ERR_FILE_NOT_FOUND' })
  })

  test('FUSE is told apart by the mount table, and what is unknown is not local', () => {
    const table = [
      '36 25 0:51 / /mnt/a rw,nosuid - fuse.sshfs user@host:/ rw',
      '37 25 0:52 / /mnt/b\\040c rw shared:1 master:2 - fuseblk /dev/sdb1 rw',
      '38 25 8:300 / /mnt/d rw - fuse.gocryptfs /home rw',
    ].join('\n')
    const device = (major: bigint, minor: bigint): bigint => (minor & 0xffn) | (major << 8n) | ((minor & ~0xffn) << 12n)
    expect(fuseFileSystem(table, device(0n, 51n))).toEqual({ type: 'fuse.sshfs', local: false })
    expect(fuseFileSystem(table, device(0n, 52n))).toEqual({ type: 'fuseblk', local: true })
    expect(fuseFileSystem(table, device(8n, 300n))).toEqual({ type: 'fuse.gocryptfs', local: true })
    expect(fuseFileSystem(table, device(0n, 99n))).toEqual({ type: 'fuse', local: false })
  })
})

describe('call gate', () => {
  test('keeps to its limit and to the order, however many wait', async () => {
    const gate = new CallGate(3)
    const started: number[] = []
    for (let call = 0; call < 5000; call++) gate.enter(() => void started.push(call))
    for (let ended = 0; ended < 5000; ended++) {
      expect(started.length).toBe(Math.min(5000, 3 + ended))
      gate.leave()
    }
    expect(started).toEqual(Array.from({ length: 5000 }, (_, call) => call))
    await expect(gate.run(() => Promise.reject(systemError('EIO')))).rejects.toThrow('EIO')
    expect(await gate.run(() => Promise.resolve(7))).toBe(7)
  })

  test.each([
    [undefined, 1],
    ['16', 4],
    ['2', 1],
    ['9999', 256],
    ['x', 1],
  ])('UV_THREADPOOL_SIZE %s gives %i calls a disk', (size, calls) => {
    expect(callsPerDisk(size === undefined ? {} : { UV_THREADPOOL_SIZE: size })).toBe(calls)
  })
})

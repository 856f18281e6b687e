/** Programs that people use, unmodified, against the NBD server over a file: what they write is in the file, what they read comes from it. */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { MIB } from '../../src/core/base/units.ts'
import { FileDisk } from '../../src/core/block/file.ts'
import type { MetaContext } from '../../src/core/nbd/exports.ts'
import { listenTcp, type NbdListener } from '../../src/core/nbd/listen.ts'
import { Authority } from '../core/nbd/support/certificates.ts'
import { serve, temporaryFolder, type Served } from '../core/nbd/support/served.ts'
import { stamped } from '../support/sim.ts'

const SIZE = 64 * MIB
const run = promisify(execFile)
const changed: MetaContext = {
  name: 'qemu:dirty-bitmap:monday',
  extents: async (offset, length) => [{ length: Math.min(length, offset < MIB ? MIB - offset : length), flags: offset < MIB ? 1 : 0 }],
}

let folder: string
let image: string
let disk: FileDisk
let served: Served
let uri: string

beforeEach(async () => {
  folder = temporaryFolder()
  image = join(folder, 'disk.img')
  disk = await FileDisk.create(image, SIZE)
  served = await serve({ disk: { device: disk, contexts: [changed] }, frozen: { device: disk, readOnly: true } })
  uri = `nbd+unix:///disk?socket=${served.socket}`
})
afterEach(async () => {
  await served.server.close()
  expect(served.exports.open_).toBe(0)
  expect(served.reports).toEqual([])
  await disk.close()
})

/** Debian's nbdsh runs the python that it finds; its module is in the system's. */
const client = async (program: string, ...args: string[]): Promise<string> =>
  (await run(program, args, { timeout: 60_000, maxBuffer: 2 ** 26, env: { ...process.env, PATH: `/usr/bin:${process.env['PATH']}` } })).stdout
const hash = (bytes: Uint8Array): string => createHash('sha1').update(bytes).digest('hex')
const bytes = stamped(8 * MIB, 3)

describe('libnbd', () => {
  test('nbdinfo shows the export, lists all, and maps it', async () => {
    const [shown] = (JSON.parse(await client('nbdinfo', '--json', uri)) as { exports: Record<string, unknown>[] }).exports
    expect(shown).toMatchObject({
      'export-name': 'disk',
      description: 'about disk',
      'export-size': SIZE,
      is_read_only: false,
      can_multi_conn: true,
      can_fua: true,
    })
    expect(shown!['contexts']).toEqual(['base:allocation', 'qemu:dirty-bitmap:monday'])
    const all = JSON.parse(await client('nbdinfo', '--json', '--list', `nbd+unix://?socket=${served.socket}`)) as { exports: unknown[] }
    expect(all.exports).toMatchObject([{ 'export-name': 'disk' }, { 'export-name': 'frozen', is_read_only: true }])
    await disk.write(2 * MIB, bytes.subarray(0, MIB))
    const map = JSON.parse(await client('nbdinfo', '--json', '--map', uri)) as { offset: number; length: number; type: number }[]
    expect(map.map(({ offset, length, type }) => [offset, length, type])).toEqual([
      [0, 2 * MIB, 3],
      [2 * MIB, MIB, 0],
      [3 * MIB, SIZE - 3 * MIB, 3],
    ])
    const dirty = JSON.parse(await client('nbdinfo', '--json', '--map=qemu:dirty-bitmap:monday', uri)) as { length: number; type: number }[]
    expect(dirty.map(({ length, type }) => [length, type])).toEqual([
      [MIB, 1],
      [SIZE - MIB, 0],
    ])
  })

  test('nbdcopy in and out, over several connections', async () => {
    const source = Buffer.concat([bytes, Buffer.alloc(SIZE - bytes.length - MIB), bytes.subarray(0, MIB)])
    writeFileSync(join(folder, 'in.img'), source)
    await client('nbdcopy', '--flush', join(folder, 'in.img'), uri)
    expect(hash(readFileSync(image))).toBe(hash(source))
    await client('nbdcopy', uri, join(folder, 'out.img'))
    expect(hash(readFileSync(join(folder, 'out.img')))).toBe(hash(source))
  })

  test('nbdsh: bytes at any place, FUA, zeros, trim, status, errors by name', async () => {
    const script = [
      'h.pwrite(b"lunar" * 100, 3, nbd.CMD_FLAG_FUA)',
      'assert h.pread(500, 3) == b"lunar" * 100',
      'h.zero(100, 103, nbd.CMD_FLAG_NO_HOLE)',
      'assert h.pread(100, 103) == bytearray(100)',
      'h.pwrite(b"x" * 1048576, 1048576)',
      'h.trim(1048576, 1048576)',
      'h.flush()',
      'h.cache(65536, 0)',
      'found = []',
      'h.block_status(1048576, 1048576, lambda context, offset, entries, error: found.append((context, entries)))',
      'assert found[0][0] == "base:allocation" and sum(found[0][1][::2]) <= 1048576, found',
      'h.set_strict_mode(0)',
      'def refused(call, name):',
      '    try: call()',
      '    except nbd.Error as error: assert error.errno == name, error.errno',
      '    else: raise AssertionError(name)',
      'refused(lambda: h.pread(1, h.get_size()), "EINVAL")',
      'refused(lambda: h.pwrite(b"x", h.get_size()), "ENOSPC")',
      'refused(lambda: h.zero(512, 0, nbd.CMD_FLAG_FAST_ZERO), "ENOTSUP")',
    ]
    await client('nbdsh', '--base-allocation', '-u', uri, '-c', script.join('\n'))
    await client(
      'nbdsh',
      '-u',
      uri.replace('///disk', '///frozen'),
      '-c',
      'h.set_strict_mode(0)\ntry: h.pwrite(b"x", 0)\nexcept nbd.Error as error: assert error.errno == "EPERM"\nelse: raise AssertionError()',
    )
    expect(readFileSync(image).subarray(3, 8).toString()).toBe('lunar')
  })

  test('TLS with certificates, over TCP', async () => {
    const files = join(folder, 'pki')
    mkdirSync(files)
    const authority = new Authority(files)
    const own = authority.sign('server', '/CN=localhost')
    authority.sign('client', '/CN=db7')
    const listener: NbdListener = await listenTcp(served.server, { host: '127.0.0.1', port: 0 }, own)
    try {
      const at = `127.0.0.1:${listener.address.split(':')[1]}/disk`
      await expect(client('nbdinfo', `nbd://${at}`)).rejects.toThrow()
      const secure = `nbds://${at}?tls-certificates=${files}`
      await client('nbdsh', '-c', `h.set_uri_allow_local_file(True); h.connect_uri("${secure}"); h.pwrite(b"secret", 0); h.flush()`)
      expect(served.exports.peers.at(-1)).toMatchObject({ transport: 'tls', host: 'db7' })
    } finally {
      await listener.close()
    }
    expect(readFileSync(image).subarray(0, 6).toString()).toBe('secret')
    served.reports.length = 0 // the client without TLS
  })
})

describe('qemu', () => {
  test('qemu-img convert in and out, with zeros and holes kept', async () => {
    const source = Buffer.concat([bytes, Buffer.alloc(SIZE - bytes.length)])
    writeFileSync(join(folder, 'in.img'), bytes)
    truncateSync(join(folder, 'in.img'), SIZE)
    await client('qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw', join(folder, 'in.img'), uri)
    // Before anything is read: what the host has read of a range that was never written, it calls data.
    const map = JSON.parse(await client('qemu-img', 'map', '--output=json', '-f', 'raw', uri)) as { start: number; zero: boolean }[]
    expect(map.map(({ start, zero }) => [start, zero])).toEqual([
      [0, false],
      [8 * MIB, true],
    ])
    expect(hash(readFileSync(image))).toBe(hash(source))
    await client('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', uri, join(folder, 'out.qcow2'))
    await client('qemu-img', 'compare', '-f', 'raw', '-F', 'qcow2', uri, join(folder, 'out.qcow2'))
  })

  test('qemu-io: patterns at any place, write-through, discard', async () => {
    const commands = [
      'write -P 5 1 1000',
      'write -f -P 6 1M 3M',
      'write -z 1000k 100k',
      'write -zu 3M 64k',
      'discard 2M 1M',
      'flush',
      'read -P 5 1 1000',
      'read -P 0 1000k 100k',
      'read -P 0 3M 64k',
      'read -P 6 1100k 900k',
    ]
    const output = await client('qemu-io', '-f', 'raw', ...commands.flatMap(command => ['-c', command]), uri)
    expect(output).not.toMatch(/fail|error|verification/i)
  })
})

test('fio verifies what it wrote, with several requests in flight and from several jobs', async () => {
  const output = await client(
    'fio',
    '--name=verify',
    '--ioengine=nbd',
    `--uri=${uri}`,
    '--rw=randwrite',
    '--bsrange=512-256k',
    '--bs_unaligned=0',
    '--blockalign=512',
    '--iodepth=16',
    '--size=16m',
    '--offset_increment=16m',
    '--numjobs=3',
    '--verify=crc32c',
    '--do_verify=1',
    '--verify_state_save=0',
    '--fsync=32',
    '--randseed=7',
    '--group_reporting',
    '--output-format=json',
  )
  const result = JSON.parse(output.slice(output.indexOf('{'))) as { jobs: { error: number; read: { total_ios: number } }[] }
  expect(result.jobs[0]!.error).toBe(0)
  expect(result.jobs[0]!.read.total_ios).toBeGreaterThan(100)
})

/** lun import, export, read and write: real transfers on a device in memory, no engine. */
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { LunarError } from '../../src/core/base/errors.ts'
import { MemoryDevice } from '../../src/core/block/memory.ts'
import * as transfers from '../../src/core/lun/transfer.ts'
import type { Params } from '../../src/core/server/api.ts'
import { lun, lunDetail, pool } from '../core/cli/objects.ts'
import { lunar, Stage, type Options } from '../core/cli/surroundings.ts'

const MIB = 1024 * 1024
const folder = mkdtempSync(join(tmpdir(), 'lunar-cli-'))
afterAll(() => rmSync(folder, { recursive: true }))
const file = (name: string): string => join(folder, name)
const stamped = (length: number): Buffer => Buffer.from(Uint8Array.from({ length }, (_, i) => (i * 7 + (i >> 9)) & 255))
const piped = (data: Buffer): Readable => Readable.from([data], { objectMode: false })

let device: MemoryDevice
let incomplete: boolean[]
let created: Params<'lun.create'> | undefined
beforeEach(() => {
  device = new MemoryDevice(4 * MIB)
  incomplete = []
  created = undefined
})

const world = (existing: Parameters<typeof lun>[2] | undefined, more: Partial<Options> = {}): Options => ({
  transfers,
  openLun: () => Promise.resolve(Object.assign(Object.create(device) as MemoryDevice, { close: () => Promise.resolve() })),
  answers: {
    'lun.list': () => (existing ? [lun('db', 4 * MIB, existing)] : []),
    'lun.show': () => lunDetail('db', 4 * MIB),
    'volume.show': () => lunDetail('db', 4 * MIB),
    'pool.show': () => pool(),
    'lun.create': params => {
      created = params
      return lunDetail('db', params.size)
    },
    'lun.incomplete': params => {
      incomplete.push(params.incomplete)
      return lun('db', 4 * MIB)
    },
  },
  ...more,
})

const held = async (offset: number, length: number): Promise<Buffer> => {
  const buffer = Buffer.alloc(length)
  await device.read(offset, buffer)
  return buffer
}

describe('lun import', () => {
  test('creates a missing LUN of the size of the file in whole MiB, raid1, and marks it while it fills', async () => {
    const data = stamped(3 * MIB + 700)
    writeFileSync(file('a.img'), data)
    const outcome = await lunar(['lun', 'import', 'tank/db', file('a.img'), '--verify', '--json'], world(undefined))
    expect(outcome).toMatchObject({ status: 0, err: '', closed: 1 })
    expect(created).toEqual({ name: 'db', size: 4 * MIB, raid: 'raid1' })
    expect(incomplete).toEqual([true, false])
    expect((await held(0, data.length)).equals(data)).toBe(true)
    expect(JSON.parse(outcome.out)).toMatchObject({ schema: 'lun.import/1', data: { lun: 'db', created: true, size: data.length, verified: true } })
  })

  test('raid0 where the pool has no room for raid1', async () => {
    writeFileSync(file('b.img'), stamped(512))
    const answers = { ...world(undefined).answers, 'pool.show': () => pool({ largest: [{ raid: 'raid1', size: 0 }] }) }
    await lunar(['lun', 'import', 'db', file('b.img')], world(undefined, { answers }))
    expect(created?.raid).toBe('raid0')
  })

  test('--stripe interleaves the stores of a new LUN, and one that is there is of that stripe or refused', async () => {
    writeFileSync(file('b.img'), stamped(512))
    const line = ['lun', 'import', 'db', file('b.img'), '--raid', 'raid0', '--stripe', '2']
    expect((await lunar(line, world(undefined))).status).toBe(0)
    expect(created).toEqual({ name: 'db', size: MIB, raid: 'raid0', stripe: 2 })
    const other = await lunar(line, world({ raid: 'raid0' }))
    expect(other).toMatchObject({ status: 4 })
    expect(other.err).toMatch(/raid0[\s\S]*leave --size, --raid, --stripe and --range out/)
    const same = { raid: 'raid0' as const, ranges: [{ offset: 0, length: null, raid: 'raid0' as const, stripe: 2 }] }
    expect((await lunar([...line, '--yes'], world(same))).status).toBe(0)
    expect((await lunar([...line.slice(0, -1), '256'], world(undefined))).status).toBe(2)
    expect(await lunar(['lun', 'import', 'db', file('b.img'), '--stripe', '2'], world(undefined))).toMatchObject({ status: 2, opened: [] })
  })

  test('a pipe needs --size for a new LUN', async () => {
    const refused = await lunar(['lun', 'import', 'db', '-'], world(undefined, { stdin: piped(stamped(1024)) }))
    expect(refused).toMatchObject({ status: 2, closed: 1 })
    expect(refused.err).toContain('give --size')
    const data = stamped(1024)
    expect((await lunar(['lun', 'import', 'db', '-', '--size', '4MiB', '--raid', 'raid0'], world(undefined, { stdin: piped(data) }))).status).toBe(0)
    expect((await held(0, 1024)).equals(data)).toBe(true)
  })

  test('what an existing LUN holds is overwritten only with consent; an incomplete one is just resumed', async () => {
    writeFileSync(file('c.img'), stamped(1024))
    expect(await lunar(['lun', 'import', 'db', file('c.img')], world({ bound: MIB }))).toMatchObject({ status: 2 })
    expect(incomplete).toEqual([])
    expect((await lunar(['lun', 'import', 'db', file('c.img'), '--yes'], world({ bound: MIB }))).status).toBe(0)
    expect((await lunar(['lun', 'import', 'db', file('c.img')], world({ bound: MIB, state: 'ready, incomplete' }))).status).toBe(0)
    expect((await lunar(['lun', 'import', 'db', file('c.img')], world({ bound: 0 }))).status).toBe(0)
  })

  test('a source that is larger than the LUN is refused before anything changes', async () => {
    writeFileSync(file('d.img'), stamped(5 * MIB))
    const outcome = await lunar(['lun', 'import', 'db', file('d.img'), '--yes'], world({}))
    expect(outcome.status).toBe(2)
    expect(outcome.err).toContain('[ERR_OUT_OF_RANGE]')
    expect(incomplete).toEqual([])
  })

  test('an existing LUN of another size is not created again', async () => {
    const outcome = await lunar(['lun', 'import', 'db', '-', '--size', '8MiB'], world({}))
    expect(outcome.status).toBe(4)
  })

  test('a missing file exits with 3 and opens no pool', async () => {
    expect(await lunar(['lun', 'import', 'db', file('nowhere')], world(undefined))).toMatchObject({ status: 3, opened: [] })
  })

  test('Ctrl-C leaves the LUN marked and says how to go on', async () => {
    const stdin = new PassThrough()
    const stage = new Stage(world(undefined, { stdin }))
    const outcome = stage.run(['lun', 'import', 'tank/db', '-', '--size', '4MiB'])
    while (incomplete.length === 0) await new Promise(resolve => setImmediate(resolve))
    stdin.write(stamped(MIB))
    stage.stop()
    expect(await outcome).toMatchObject({ status: 130, out: '', closed: 1 })
    expect((await outcome).err).toMatch(
      /\[ERR_INTERRUPTED_IMPORT\][\s\S]*marked incomplete[\s\S]*lunar lun import tank\/db FILE again, or lunar lun delete tank\/db/,
    )
    expect(incomplete).toEqual([true])
  })

  test('a failure keeps its own code and says that the LUN is marked', async () => {
    writeFileSync(file('e.img'), stamped(1024))
    const full = () => Promise.reject(new LunarError('ERR_POOL_FULL', 'Cannot write LUN "db"'))
    const broken = Object.assign(new MemoryDevice(64 * MIB), { write: full, writev: full })
    const outcome = await lunar(['lun', 'import', 'db', file('e.img')], world(undefined, { openLun: () => Promise.resolve(broken) }))
    expect(outcome.status).toBe(6)
    expect(outcome.err).toContain('LUN "db" is marked incomplete')
    expect(incomplete).toEqual([true])
  })

  test('a LUN that cannot be opened for it is not marked', async () => {
    writeFileSync(file('e.img'), stamped(1024))
    const openLun = () => Promise.reject(new LunarError('ERR_PROTECTED', 'Cannot write to LUN "db"'))
    const outcome = await lunar(['lun', 'import', 'db', file('e.img')], world(undefined, { openLun }))
    expect(outcome.status).toBe(5)
    expect(incomplete).toEqual([])
  })

  test('--dry-run changes nothing and says what would be', async () => {
    writeFileSync(file('f.img'), stamped(1024))
    const outcome = await lunar(['lun', 'import', 'db', file('f.img'), '--dry-run'], world(undefined))
    expect(outcome).toMatchObject({ status: 0, out: 'Would import 1 KiB into a new LUN "db" (1 MiB, raid1)\n' })
    expect([created, incomplete]).toEqual([undefined, []])
  })
})

describe('lun export', () => {
  test('to a file, sparse, never over another without --force=overwrite', async () => {
    const data = stamped(MIB)
    await device.write(MIB, data)
    const path = file('out.img')
    expect(await lunar(['lun', 'export', 'db', path, '--verify'], world({}))).toMatchObject({ status: 0, closed: 1 })
    const written = readFileSync(path)
    expect(written.length).toBe(4 * MIB)
    expect(written.subarray(MIB, 2 * MIB).equals(data)).toBe(true)
    expect(statSync(path).blocks * 512).toBeLessThan(2 * MIB)
    expect((await lunar(['lun', 'export', 'db', path], world({}))).status).not.toBe(0)
    expect((await lunar(['lun', 'export', 'db', path, '--force=overwrite'], world({}))).status).toBe(0)
  })

  test('to stdout: data only, and a reader that leaves is a failure', async () => {
    await device.write(0, Buffer.alloc(512, 'x'))
    const outcome = await lunar(['lun', 'export', 'db', '-'], world({}))
    expect(outcome).toMatchObject({ status: 0, err: '' })
    expect(outcome.out.length).toBe(4 * MIB)
    const cut = await lunar(['lun', 'export', 'db', '-'], world({}, { readerLeavesAfter: MIB }))
    expect(cut.status).toBe(1)
    expect(cut.err).toContain('[ERR_PIPE_CLOSED]')
  })

  test.each([
    { argv: ['lun', 'export', 'db', '-', '--json'], options: {} },
    { argv: ['lun', 'export', 'db', '-', '--verify'], options: {} },
    { argv: ['lun', 'export', 'db', '-'], options: { columns: 80 } },
    { argv: ['lun', 'read', 'db'], options: { columns: 80 } },
    { argv: ['lun', 'read', 'db', '--json', '--length', '17MiB'], options: { answers: { 'volume.show': () => lunDetail('db', 64 * MIB) } } },
    { argv: ['lun', 'write', 'db'], options: { stdin: Object.assign(new PassThrough(), { isTTY: true }) } },
  ])('$argv is refused', async ({ argv, options }) => {
    expect(await lunar(argv, world({}, options))).toMatchObject({ status: 2 })
  })
})

describe('lun write and lun read', () => {
  test('a pipe goes to its offset, and what follows in the last block stays', async () => {
    await device.write(0, Buffer.alloc(MIB, 0xee))
    const data = stamped(1000)
    const outcome = await lunar(['lun', 'write', 'db', '--offset', '4KiB'], world({}, { stdin: piped(data) }))
    expect(outcome).toMatchObject({ status: 0, closed: 1, out: 'Wrote 1000 B to LUN "db" from 4 KiB on\n' })
    expect((await held(4096, 1000)).equals(data)).toBe(true)
    expect(await held(4096 + 1000, 24)).toEqual(Buffer.alloc(24, 0xee))
    expect(await held(4096 + 1024, 512)).toEqual(Buffer.alloc(512, 0xee))
    expect(await held(4096 - 512, 512)).toEqual(Buffer.alloc(512, 0xee))
  })

  test.each([1000, 1024])('a file of %d bytes', async length => {
    await device.write(0, Buffer.alloc(4096, 0xee))
    writeFileSync(file('w.bin'), stamped(length))
    const outcome = await lunar(['lun', 'write', 'db', file('w.bin'), '--verify', '--json'], world({}))
    expect(JSON.parse(outcome.out)).toMatchObject({ data: { lun: 'db', offset: 0, length, verified: true } })
    expect((await held(0, length)).equals(stamped(length))).toBe(true)
    expect(await held(length, 4096 - length)).toEqual(Buffer.alloc(4096 - length, 0xee))
  })

  test('a file that passes the end is refused before anything is written', async () => {
    writeFileSync(file('x.bin'), stamped(1024))
    const outcome = await lunar(['lun', 'write', 'db', file('x.bin'), '--offset', String(4 * MIB - 512)], world({}))
    expect(outcome.status).toBe(2)
    expect(await held(4 * MIB - 512, 512)).toEqual(Buffer.alloc(512))
  })

  test('read gives back what was written: as bytes, into a file, in the envelope', async () => {
    await device.write(MIB, Buffer.alloc(1024, 'a'))
    const range = ['lun', 'read', 'db', '--offset', '1MiB', '--length', '1024']
    expect(await lunar(range, world({}))).toMatchObject({ status: 0, out: 'a'.repeat(1024), err: '' })
    expect((await lunar([...range, '--out', file('r.bin')], world({}))).status).toBe(0)
    expect(readFileSync(file('r.bin'), 'utf8')).toBe('a'.repeat(1024))
    const { data } = JSON.parse((await lunar([...range, '--json'], world({}))).out) as { data: { base64: string } }
    expect(Buffer.from(data.base64, 'base64').toString()).toBe('a'.repeat(1024))
  })

  test('--dry-run says what would be moved and reads nothing', async () => {
    const never = { transfers: { sourceSize: transfers.sourceSize } }
    expect(await lunar(['lun', 'read', 'db', '--length', '1MiB', '--dry-run'], world({}, never))).toMatchObject({
      status: 0,
      out: 'Would read 1 MiB of LUN "db" from 0 B on\n',
    })
    expect(await lunar(['lun', 'write', 'db', '--dry-run'], world({}, never))).toMatchObject({ status: 0, out: 'Would write stdin to LUN "db" from 0 B on\n' })
    expect((await lunar(['lun', 'export', 'db', 'x.img', '--dry-run'], world({}, never))).out).toMatch(/^Would export LUN "db" \(4 MiB/)
  })
})

/** Bad input (issue 2), where processes meet: a second writer, no space, Ctrl-C and SIGTERM in the middle of things, a closed pipe. */
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { MIB } from '../../src/core/base/units.ts'
import { expectConsistentFiles, expectSoundFiles, lunOnFiles, useProgram } from '../support/program.ts'
import { RunningImport } from '../support/running-import.ts'
import { stamped } from '../support/sim.ts'

const lunar = useProgram()
const data = stamped(2 * MIB, 1)
const read = (): Buffer => lunar.runWith({}, 'lun', 'read', 'tank/a', '--length', '2MiB').out
const hook = join(import.meta.dirname, '..', 'support', 'kill-at.cjs')

describe('a second writer', () => {
  test('while an import runs, every other command works through its owner; what would disturb it is refused, naming it', { timeout: 60_000 }, async () => {
    const disks = await lunar.tankWithData()
    const source = stamped(8 * MIB, 2)
    const import_ = new RunningImport(lunar, 'tank/b', '--size', '8MiB')
    import_.write(source.subarray(0, 5 * MIB))
    await import_.begun()
    lunar.ok('lun', 'create', 'tank/c', '--size', '1MiB', '--raid', 'raid1')
    expect(read().equals(data)).toBe(true)
    expect(lunar.ok('lock', 'show', 'tank')).toContain('lun import')
    for (const args of [
      ['lun', 'delete', 'tank/b', '--yes'],
      ['lun', 'resize', 'tank/b', '--size', '1MiB', '--force=lost-data'],
      ['pool', 'export', 'tank'],
      ['pool', 'destroy', 'tank', '--yes'],
    ])
      expect(lunar.refused('ERR_BUSY', ...args)).toMatch(new RegExp(`why: .*process ${import_.child.pid} .*lun import`))
    expect(lunar.refusedJson('ERR_BUSY', 'lun', 'delete', 'tank/b', '--yes').blockers).toEqual([
      expect.stringMatching(new RegExp(`^process ${import_.child.pid} .*lun import`)) as string,
    ])
    lunar.refused('ERR_INCOMPLETE', 'lun', 'read', 'tank/b')
    import_.end(source.subarray(5 * MIB))
    expect(await import_.ended()).toEqual({ status: 0, stderr: '' })
    expect((await lunOnFiles(disks, 'b')).equals(source)).toBe(true)
    await expectSoundFiles(disks)
  })
})

describe('no space', () => {
  test('in the pool: the import says so, other LUNs go on, and after a delete it fits', { timeout: 60_000 }, async () => {
    const disks = await lunar.tankWithData(2)
    lunar.ok('lun', 'create', 'tank/huge', '--size', '1GiB', '--raid', 'raid1')
    const much = Buffer.alloc(80 * MIB, 'x')
    const result = lunar.runWith({ input: much }, 'lun', 'import', 'tank/huge', '-', '--yes')
    expect(result).toMatchObject({ status: 6, stderr: expect.stringMatching(/^error: .*\[ERR_POOL_FULL\]\n {2}why: .*\n {2}fix: .*\n$/) as string })
    lunar.refused('ERR_POOL_FULL', 'lun', 'create', 'tank/reserved', '--size', '512MiB', '--raid', 'raid1', '--reserve')
    expect(lunar.json<{ name: string }[]>('lun', 'list').map(({ name }) => name)).toEqual(['a', 'huge'])
    expect(read().equals(data)).toBe(true)
    expect(lunar.runWith({ input: stamped(MIB, 4) }, 'lun', 'write', 'tank/a').status).toBe(0)
    expect(lunar.run('pool', 'status', '--check', 'tank').status).toBe(0)
    await expectConsistentFiles(disks)
    lunar.ok('lun', 'delete', 'tank/huge', '--yes')
    expect(lunar.runWith({ input: much.subarray(0, 20 * MIB) }, 'lun', 'import', 'tank/next', '-', '--size', '32MiB', '--yes').status).toBe(0)
    expect((await lunOnFiles(disks, 'next')).subarray(0, 20 * MIB).equals(much.subarray(0, 20 * MIB))).toBe(true)
  })

  test.runIf(process.getuid?.() === 0)(
    'on the host: a pool that does not fit leaves no file, an export that does not fit no half copy',
    { timeout: 60_000 },
    async () => {
      const disks = await lunar.tankWithData(2)
      const small = lunar.path('small')
      expect(spawnSync('mkdir', [small]).status).toBe(0)
      expect(spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', small]).status).toBe(0)
      try {
        const stderr = lunar.refused('ERR_HOST_FULL', 'pool', 'create', 'other', 'small/x.img', 'small/y.img', '--size', '64MiB')
        expect(stderr).toContain('small/')
        expect(readdirSync(small)).toEqual([])
        lunar.ok('lun', 'import', 'tank/a', lunar.write('a.bin', stamped(6 * MIB, 3)), '--yes')
        lunar.refused('ERR_HOST_FULL', 'lun', 'export', 'tank/a', 'small/a.bin')
        expect(readdirSync(small)).toEqual([])
        lunar.refused('ERR_HOST_FULL', 'disk', 'add', 'small/w.img', '--witness', '--pool', 'tank')
        expect(readdirSync(small)).toEqual([])
      } finally {
        spawnSync('umount', [small])
      }
      lunar.ok('pool', 'status', '--check', 'tank')
      await expectSoundFiles(disks)
    },
  )
})

describe('Ctrl-C and SIGTERM', () => {
  test.each(['SIGINT', 'SIGTERM'] as const)(
    '%s in the middle of an import: status 130, the LUN is marked, and the next import makes it whole',
    { timeout: 60_000 },
    async signal => {
      const disks = await lunar.tankWithData()
      const source = stamped(8 * MIB, 2)
      const import_ = new RunningImport(lunar, 'tank/b', '--size', '8MiB')
      import_.write(source.subarray(0, 5 * MIB))
      await import_.begun()
      import_.child.kill(signal)
      const { status, stderr } = await import_.ended()
      expect(status).toBe(130)
      expect(stderr).toMatch(/^error: .*\[ERR_INTERRUPTED_IMPORT\]\n {2}why: .*incomplete.*\n {2}fix: .*lun import.*lun delete.*$/)
      await expectSoundFiles(disks)
      expect(lunar.json<{ name: string; state: string }[]>('lun', 'list')[1]).toMatchObject({
        name: 'b',
        state: expect.stringContaining('incomplete') as string,
      })
      lunar.refused('ERR_INCOMPLETE', 'lun', 'read', 'tank/b')
      expect(read().equals(data)).toBe(true)
      expect(lunar.runWith({ input: source }, 'lun', 'import', 'tank/b', '-', '--yes').status).toBe(0)
      expect((await lunOnFiles(disks, 'b')).equals(source)).toBe(true)
    },
  )

  /** Sends the signal at the n-th call that changes a file; the command ends as it likes. */
  const interruptedAt = (n: number, signal: string, ...args: string[]): { status: number | null; stderr: string } =>
    lunar.runWith({ node: ['--require', hook], env: { LUNAR_KILL_AT: String(n), LUNAR_KILL_WITH: signal } }, ...args)

  test('in the middle of commands that change the pool: done or not done, with the status that says which', { timeout: 120_000 }, async () => {
    const disks = await lunar.tankWithData()
    const names = (): string[] => lunar.json<{ name: string }[]>('lun', 'list').map(({ name }) => name)
    for (const [i, n] of [1, 3, 5, 8, 12].entries()) {
      const signal = i % 2 === 0 ? 'SIGINT' : 'SIGTERM'
      const made = interruptedAt(n, signal, 'lun', 'create', `tank/n${i}`, '--size', '8MiB', '--raid', 'raid1', '--reserve')
      expect([0, 130], made.stderr).toContain(made.status)
      expect(names().includes(`n${i}`), `create interrupted at call ${n}: ${made.stderr}`).toBe(made.status === 0)
      const set = interruptedAt(n, signal, 'pool', 'set', 'tank', `comment=${i}`)
      expect([0, 130], set.stderr).toContain(set.status)
      if (set.status === 0) expect(lunar.ok('pool', 'show', 'tank')).toMatch(new RegExp(`comment +${i} `))
    }
    for (const name of names().filter(name => name !== 'a')) lunar.ok('lun', 'delete', `tank/${name}`, '--yes')
    await expectConsistentFiles(disks)
    expect(read().equals(data)).toBe(true)
  })

  test('in the middle of making a pool: the pool is there, or none of its files', { timeout: 120_000 }, async () => {
    for (const n of [1, 4, 20, 40]) {
      const made = interruptedAt(n, 'SIGINT', 'pool', 'create', 'other', 'x.img', 'y.img', '--size', '64MiB')
      expect([0, 130], made.stderr).toContain(made.status)
      const files = lunar.paths('x.img', 'y.img')
      if (made.status === 0) {
        lunar.ok('pool', 'status', '--check', 'other')
        await expectSoundFiles(files)
        lunar.ok('pool', 'destroy', 'other', '--yes')
        for (const file of files) spawnSync('rm', [file])
      } else expect(files.filter(file => existsSync(file))).toEqual([])
    }
  })
})

describe('a closed pipe', () => {
  test('a reader that leaves: lists end quietly, data does not', { timeout: 60_000 }, async () => {
    const disks = await lunar.tankWithData()
    for (const [args, status, code] of [
      [['lun', 'list'], 0, ''],
      [['pool', 'status', 'tank'], 0, ''],
      [['lun', 'read', 'tank/a'], 1, 'ERR_PIPE_CLOSED'],
      [['lun', 'export', 'tank/a', '-'], 1, 'ERR_PIPE_CLOSED'],
    ] as const) {
      const child = lunar.start(args)
      child.stdout!.destroy()
      child.stdin!.end()
      let stderr = ''
      child.stderr!.on('data', chunk => (stderr += String(chunk)))
      await once(child, 'close')
      expect([child.exitCode, stderr === '' ? '' : /\[(\w+)\]/.exec(stderr)?.[1]], args.join(' ')).toEqual([status, code])
    }
    expect(read().equals(data)).toBe(true)
    await expectSoundFiles(disks)
  })

  test('a source that ends early, or at once, leaves a LUN that says what it holds', { timeout: 60_000 }, async () => {
    const disks = await lunar.tankWithData()
    lunar.ok('lun', 'create', 'tank/b', '--size', '4MiB', '--raid', 'raid1')
    expect(lunar.runWith({ input: Buffer.alloc(0) }, 'lun', 'import', 'tank/b', '-', '--yes').status).toBe(0)
    expect(lunar.runWith({ input: data.subarray(0, 700) }, 'lun', 'import', 'tank/b', '-', '--yes').status).toBe(0)
    const found = await lunOnFiles(disks, 'b')
    expect([found.subarray(0, 700).equals(data.subarray(0, 700)), found.subarray(700).every(byte => byte === 0)]).toEqual([true, true])
    expect(lunar.runWith({ input: stamped(5 * MIB, 1) }, 'lun', 'import', 'tank/b', '-', '--yes')).toMatchObject({
      status: 2,
      stderr: expect.stringMatching(/\[ERR_OUT_OF_RANGE\]/) as string,
    })
    expect(lunar.json<{ state: string }[]>('lun', 'list')[1]!.state).toContain('incomplete')
    await expectSoundFiles(disks)
    expect(existsSync(lunar.path('home'))).toBe(true)
    expect(readFileSync(disks[0]!).length).toBe(64 * MIB)
  })
})

/** The program as it is installed: launcher, bundle, code cache. `npm test` builds before it. */
import { spawn, spawnSync } from 'node:child_process'
import { closeSync, cpSync, existsSync, mkdtempSync, openSync, readdirSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { root } from '../core/cli/surroundings.ts'

const folder = mkdtempSync(join(tmpdir(), 'lunar-program-'))
const launcher = join(folder, 'bin', 'lunar.cjs')

const env = { ...process.env, LUNAR_HOME: join(folder, 'state') }

/** A copy, so that a build beside the tests changes nothing under them. */
beforeAll(() => {
  expect(existsSync(join(root, 'dist', 'lunar.cjs')), 'npm run build comes first').toBe(true)
  for (const part of ['bin', 'package.json', 'oclif.manifest.json', join('dist', 'lunar.cjs')])
    cpSync(join(root, part), join(folder, part), { recursive: true })
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
})
afterAll(() => rmSync(folder, { recursive: true }))

const run = (...args: string[]) => spawnSync(process.execPath, [launcher, ...args], { encoding: 'utf8', env })

describe('the program', () => {
  test('explains a code, and keeps a code cache that the next start takes', () => {
    const first = run('explain', 'ERR_POOL_FULL')
    expect(first).toMatchObject({ status: 0, stderr: '' })
    expect(first.stdout).toMatch(/^code: +ERR_POOL_FULL\nexit status: 6\n/)
    expect(readdirSync(join(folder, 'dist', '.cache'))).toEqual([expect.stringMatching(/-explain\.bin$/)])
    expect(run('explain', 'ERR_POOL_FULL').stdout).toBe(first.stdout)
  })

  test('a command of one word has one code cache, in any letter case and whatever it works on', () => {
    for (const words of [
      ['GetSnapStatus', '3', '--pool', 'nowhere'],
      ['getsnapstatus', 'nightly', '--pool', 'nowhere'],
    ])
      expect(run(...words).status).toBe(3)
    expect(run('help', 'GETSNAPSTATUS').stdout).toContain('lunar GetSnapStatus 1')
    const caches = readdirSync(join(folder, 'dist', '.cache')).map(name => name.replace(/^.*-[0-9a-f]{16}-/, ''))
    expect(caches.filter(name => name.startsWith('getsnapstatus'))).toEqual(['getsnapstatus.bin'])
  })

  test('shows help of everything, of a topic and of a command', () => {
    expect(run().stdout).toContain('TOPICS')
    expect(run('lun').stdout).toContain('lun create')
    const help = run('lun', 'create', '--help')
    expect(help.status).toBe(0)
    expect(help.stdout).toMatch(/EXAMPLES\n +\$ lunar lun create tank\/mail/)
    expect(run('help', 'lun', 'create').stdout).toBe(help.stdout)
  })

  test.each([
    { args: ['nonsense'], status: 2 },
    { args: ['explain', 'ERR_NONE_SUCH'], status: 3 },
    { args: ['lun', 'list', '--nope', '--json'], status: 2 },
    { args: ['lun', 'list', '--pool', 'nowhere'], status: 3 },
    { args: ['lun', 'list', '--pool', 'nowhere', '--json'], status: 3 },
  ])('$args exits with $status, without a stack', ({ args, status }) => {
    const result = run(...args)
    expect(result.status).toBe(status)
    expect(result.stdout + result.stderr).not.toMatch(/\n {4}at /)
  })

  test('a reader that leaves ends it quietly', async () => {
    const child = spawn(process.execPath, [launcher, 'explain', '--list'], { env, stdio: ['ignore', 'pipe', 'pipe'] })
    child.stdout.destroy()
    let err = ''
    child.stderr.on('data', chunk => (err += String(chunk)))
    const status = await new Promise(resolve => child.on('close', resolve))
    expect({ status, err }).toEqual({ status: 0, err: '' })
  })

  test('a full disk under stdout is an error of three lines', () => {
    const full = openSync('/dev/full', 'w')
    const result = spawnSync(process.execPath, [launcher, 'explain', '--list'], { encoding: 'utf8', env, stdio: ['ignore', full, 'pipe'] })
    closeSync(full)
    expect(result.status).toBe(6)
    expect(result.stderr.trimEnd().split('\n')).toHaveLength(3)
  })

  test('says how to build it when it is not built', () => {
    const bare = mkdtempSync(join(tmpdir(), 'lunar-bare-'))
    cpSync(join(root, 'bin'), join(bare, 'bin'), { recursive: true })
    const result = spawnSync(process.execPath, [join(bare, 'bin', 'lunar.cjs'), 'explain'], { encoding: 'utf8' })
    rmSync(bare, { recursive: true })
    expect(result.status).toBe(1)
    expect(result.stderr).toContain('npm run build')
  })
})

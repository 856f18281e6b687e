/** The lines of docs/how-to/rotate-from-cron.md for cron and systemd run as those run them: by `sh`, without a surrounding, again and again. */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'

const root = join(import.meta.dirname, '..', '..')
const page = readFileSync(join(root, 'docs', 'how-to', 'rotate-from-cron.md'), 'utf8')
const blocks = (kind: string): string[] => [...page.matchAll(new RegExp(`^\`\`\`${kind}\\n([\\s\\S]*?)^\`\`\`$`, 'gm'))].map(match => match[1]!)

/** Jobs of a crontab, and the variables above them (crontab(5): `\%` is `%`, a bare `%` ends the command). */
const crontab = blocks('crontab')[0]!.trim().split('\n')
const cronEnv = Object.fromEntries(crontab.filter(line => /^[A-Z_]+=/.test(line)).map(line => line.split('=') as [string, string]))
const jobs = crontab
  .map(line => /^((?:[\d*/,-]+\s+){5})(.*)$/.exec(line)?.[2])
  .filter(command => command !== undefined)
  .map(command => {
    expect(command).not.toMatch(/(^|[^\\])%/)
    return command.replaceAll('\\%', '%')
  })
const unit = blocks('ini').find(text => text.includes('.service'))!
const execs = [...unit.matchAll(/^ExecStart=(.*)$/gm)].map(match => match[1]!)

let folder = ''
let env: Record<string, string> = {}

const lunar = (...args: string[]): string => {
  const { status, stdout, stderr } = spawnSync(join(folder, 'bin', 'lunar'), args, { cwd: folder, env, encoding: 'utf8', timeout: 45_000 })
  expect(status, `lunar ${args.join(' ')}: ${stderr}`).toBe(0)
  return stdout
}
const snapshots = (): string[] => lunar('snap', 'list', '--pool', 'tank', '-H', '-o', 'name').trim().split('\n').filter(Boolean)

beforeEach(() => {
  expect(existsSync(join(root, 'dist', 'lunar.cjs')), 'npm run build comes first').toBe(true)
  folder = mkdtempSync(join(tmpdir(), 'lunar-cron-'))
  mkdirSync(join(folder, 'bin'))
  writeFileSync(join(folder, 'bin', 'lunar'), `#!/bin/sh\nexec '${process.execPath}' '${join(root, 'bin', 'lunar.cjs')}' "$@"\n`, { mode: 0o755 })
  // What cron sets, and nothing else; where the program is, and where it remembers pools.
  env = { HOME: folder, LOGNAME: 'root', SHELL: '/bin/sh', LUNAR_HOME: join(folder, 'home'), PATH: `${join(folder, 'bin')}:${cronEnv['PATH']}` }
  lunar('pool', 'create', 'tank', 'd1.img', 'd2.img', 'd3.img', '--size', '64MiB')
  lunar('lun', 'create', 'tank/db', '--size', '16MiB', '--raid', 'raid1')
})
afterEach(() => {
  rmSync(folder, { recursive: true, force: true })
})

const asCron = (command: string): { status: number | null; stdout: string; stderr: string } =>
  spawnSync('env', ['-i', ...Object.entries(env).map(([key, value]) => `${key}=${value}`), '/bin/sh', '-c', command], {
    cwd: folder,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 45_000,
  })

describe('the crontab', () => {
  test('has a line that takes and one that rotates', () => {
    expect(jobs.map(command => command.split(' ').slice(0, 3).join(' '))).toEqual(['lunar snap create', 'lunar snap rotate'])
    expect(dirname(process.execPath)).toBeTruthy()
  })

  test('runs, says nothing while all is well, and thins out', { timeout: 120_000 }, () => {
    lunar('snap', 'create', 'tank/db@by-hand')
    for (let hour = 0; hour < 5; hour++) {
      for (const command of jobs) expect(asCron(command), command).toMatchObject({ status: 0, stdout: '' })
      // A snapshot is named to the second.
      const stamps = new Set(snapshots())
      for (const now = new Date().toISOString().slice(0, 19); new Date().toISOString().slice(0, 19) === now;) spawnSync('sleep', ['0.05'])
      expect(stamps.size).toBe(Math.min(hour + 1, 3) + 1)
    }
    expect(snapshots().filter(name => name.startsWith('auto-'))).toHaveLength(3)
    expect(snapshots()).toContain('by-hand')
  })

  test('two at the same time do it once', { timeout: 120_000 }, async () => {
    for (let i = 0; i < 4; i++) lunar('snap', 'create', `tank/db@auto-${i}`)
    const rotate = jobs[1]!.replace(' > /dev/null', ' --json')
    const ends = await Promise.all(
      Array.from({ length: 4 }, async () => {
        const child = spawn('/bin/sh', ['-c', rotate], { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] })
        let out = ''
        child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text))
        const status = await new Promise<number | null>(resolve => child.on('close', resolve))
        return { status, deleted: (JSON.parse(out) as { data: { deleted: number } }).data.deleted }
      }),
    )
    expect(ends.map(({ status }) => status)).toEqual([0, 0, 0, 0])
    expect(ends.map(({ deleted }) => deleted).sort()).toEqual([0, 0, 0, 1])
    expect(snapshots()).toEqual(['auto-1', 'auto-2', 'auto-3'])
  })
})

test('the lines of the systemd service run without a shell, and wait for their end', { timeout: 120_000 }, () => {
  expect(execs).toHaveLength(2)
  for (let i = 0; i < 6; i++) lunar('snap', 'create', `tank/db@auto-${i}`)
  for (const line of execs) {
    // systemd splits at spaces, does not expand `*`, and takes `%` for its own.
    expect(line).not.toMatch(/[%$'"\\]/)
    const [program, ...args] = line.split(' ')
    expect(program).toBe('lunar')
    const { status, stderr } = spawnSync(join(folder, 'bin', 'lunar'), [...args, ...(args[1] === 'rotate' ? ['--force=many'] : [])], {
      cwd: folder,
      env,
      encoding: 'utf8',
      timeout: 45_000,
    })
    expect([status, stderr]).toEqual([0, ''])
  }
  expect(snapshots()).toHaveLength(3)
  expect((JSON.parse(lunar('task', 'list', '--pool', 'tank', '--json')) as { data: { state: string }[] }).data.every(({ state }) => state === 'done')).toBe(
    true,
  )
})

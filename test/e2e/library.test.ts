/** The package as it is installed: the examples run against it, and TypeScript understands its declarations. */
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'

const root = join(import.meta.dirname, '..', '..')
const MIB = 1024 * 1024
let folder = ''

interface Outcome {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

function node(...args: string[]): Outcome {
  const { LUNAR_POOL: _pool, ...env } = process.env
  return spawnSync(process.execPath, args, { cwd: folder, env: { ...env, LUNAR_HOME: join(folder, 'home') }, encoding: 'utf8', timeout: 60_000 })
}

/** Runs a module of the folder's own. */
function script(text: string): Outcome {
  writeFileSync(join(folder, 'script.mjs'), text)
  return node('script.mjs')
}

const example = (name: string, ...args: string[]): Outcome => node(join('examples', name), ...args)

beforeAll(() => {
  expect(existsSync(join(root, 'dist', 'index.js')), 'npm run build comes first').toBe(true)
  folder = mkdtempSync(join(tmpdir(), 'lunar-package-'))
  const installed = join(folder, 'node_modules', 'lunar')
  mkdirSync(installed, { recursive: true })
  const { files } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { files: string[] }
  for (const part of ['package.json', ...files]) cpSync(join(root, part), join(installed, part), { recursive: true })
  symlinkSync(join(root, 'node_modules'), join(installed, 'node_modules'))
  symlinkSync(join(root, 'node_modules', '@types'), join(folder, 'node_modules', '@types'))
  cpSync(join(root, 'examples'), join(folder, 'examples'), { recursive: true })
  const made = script(`
    import { createPool, openPool } from 'lunar'
    await createPool({ name: 'tank', disks: [1, 2, 3].map(n => ({ path: \`d\${n}.img\`, size: ${128 * MIB} })) })
    const pool = await openPool('tank')
    await pool.luns.create({ name: 'db', size: ${4 * MIB}, raid: 'raid1' })
    const device = await pool.luns.open('db')
    await device.write(0, new Uint8Array(${2 * MIB}).fill(7))
    await device.flush()
    await pool.close()
  `)
  expect(made).toMatchObject({ status: 0, stderr: '' })
}, 60_000)
afterAll(() => {
  rmSync(folder, { recursive: true, force: true })
})

test('every example is run here', () => {
  const text = readFileSync(import.meta.filename, 'utf8')
  expect(readdirSync(join(root, 'examples')).filter(name => !text.includes(`example('${name}'`))).toEqual([])
})

test('open and list', () => {
  const { status, stdout, stderr } = example('open-and-list.mjs', 'tank')
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  expect(stdout).toContain('pool tank: healthy, 3 disks\n')
  expect(stdout).toContain(`LUN db: ${4 * MIB} bytes, ${2 * MIB} bound, raid1\n`)
  const missing = example('open-and-list.mjs', 'pond')
  expect(missing).toMatchObject({ status: 3, stdout: '' })
  expect(missing.stderr).toContain('[ERR_POOL_NOT_FOUND]\n  why: known are: tank\n  fix: ')
})

test('time-shifted test, twice', () => {
  for (let run = 0; run < 2; run++) {
    const { status, stdout, stderr } = example('time-shifted-test.mjs', 'tank', 'db')
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(stdout).toContain('production wrote, the image did not change\nthe test wrote, production did not change\n1 of 128 chunks were copied\n')
  }
})

test('incremental refresh: the second run copies what has changed', () => {
  expect(example('incremental-refresh.mjs', 'tank', 'db')).toMatchObject({
    status: 0,
    stderr: '',
    stdout: expect.stringMatching(/^copied 64 chunks\nrefreshed 0 chunks; /) as string,
  })
  const write = script(`
    import { openPool } from 'lunar'
    const pool = await openPool()
    const device = await pool.luns.open('db')
    await device.write(${MIB}, new Uint8Array(${128 * 1024}).fill(8))
    await device.flush()
    await pool.close()
  `)
  expect(write).toMatchObject({ status: 0, stderr: '' })
  expect(example('incremental-refresh.mjs', 'tank', 'db')).toMatchObject({
    status: 0,
    stderr: '',
    stdout: expect.stringMatching(/^refreshed 2 chunks; /) as string,
  })
})

test('handles of Table 2', () => {
  const { status, stdout, stderr } = example('table2-handles.mjs', 'tank', 'db-copy')
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  expect(stdout).toContain('100 % complete, 0 % different, 64 chunks of 128 blocks\nheld: a program has a handle of it open\n')
  expect(stdout.match(/^volume \d+: [0-9a-f-]{36}$/gm)).toHaveLength(3)
})

test('a program that dies with a handle and a LUN open holds nothing', () => {
  const died = script(`
    import { DcsPITDeviceCreateHandle, openPool } from 'lunar'
    const pool = await openPool()
    await DcsPITDeviceCreateHandle(pool, 'db-copy')
    await pool.luns.open('db')
    process.kill(process.pid, 'SIGKILL')
  `)
  expect(died.status).toBe(null)
  const after = script(`
    import { openPool } from 'lunar'
    const pool = await openPool()
    await pool.relationships.unconfigure('db-copy')
    console.log((await pool.metadata.check()).ok)
    await pool.close()
  `)
  expect(after).toMatchObject({ status: 0, stdout: 'true\n' })
})

test('its declarations are whole, and say what is wrong', () => {
  const compile = (text: string): Outcome => {
    writeFileSync(join(folder, 'app.mts'), text)
    const flags = [
      '--noEmit',
      '--strict',
      '--exactOptionalPropertyTypes',
      '--target',
      'es2022',
      '--lib',
      'es2023,esnext.disposable',
      '--module',
      'nodenext',
      '--types',
      'node',
    ]
    return node(join(root, 'node_modules', 'typescript', 'bin', 'tsc'), ...flags, 'app.mts')
  }
  const good = compile(`
    import { DcsPITDeviceCreateHandle, isCode, LunarError, openPool, type ErrorCode, type LunDevice, type Pool } from 'lunar'
    await using pool: Pool = await openPool('tank', { mode: 'view' })
    await using device: LunDevice = await pool.luns.open('db')
    const bytes: Uint8Array = (await pool.relationship(1).maps()).migrated
    const code: ErrorCode = 'ERR_BUSY'
    try {
      await device.write(0, bytes)
      await pool.relationships.enable([1, 'b'], { fresh: true, force: ['mixed'] })
      await DcsPITDeviceCreateHandle(pool, 3)
    } catch (error) {
      if (isCode(error, code) && error instanceof LunarError) console.log(error.why)
    }
  `)
  expect(good.stdout).toBe('')
  expect(good.status).toBe(0)
  const bad = compile(`
    import { DcsPITDeviceDisable, isCode, openPool } from 'lunar'
    const pool = await openPool('tank')
    await pool.luns.create({ name: 'db', size: 1, raid: 'raid7' })
    await pool.relationship(1).start('everything')
    await DcsPITDeviceDisable({})
    isCode(undefined, 'ERR_NOTHING')
  `)
  expect(bad.stdout.match(/app\.mts\((\d+),/g)).toEqual([4, 5, 6, 7].map(line => `app.mts(${line},`))
}, 60_000)

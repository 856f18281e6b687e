/** What README and how-to pages tell people to type runs, in its order, as it stands there. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { afterAll, beforeAll, beforeEach, afterEach, describe, expect, test } from 'vitest'
import { errorTable } from '../../src/core/base/error-table.ts'

const root = join(import.meta.dirname, '..', '..')
const read = (path: string): string => readFileSync(join(root, path), 'utf8')
const howTo = readdirSync(join(root, 'docs', 'how-to')).map(name => join('docs', 'how-to', name))
const pages = ['README.md', ...howTo]
const allPages = [
  ...pages,
  'CONTRIBUTING.md',
  'CHANGELOG.md',
  ...['docs', join('docs', 'api')].flatMap(folder => readdirSync(join(root, folder)).flatMap(name => (name.endsWith('.md') ? [join(folder, name)] : []))),
]

/** The blocks marked `sh`; those marked `sh no-run` are only for reading. */
const blocksOf = (page: string): string[] => [...read(page).matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(match => match[1]!)

describe('commands in the documentation', () => {
  let programs = ''
  let folder = ''

  beforeAll(() => {
    expect(existsSync(join(root, 'dist', 'lunar.cjs')), 'npm run build comes first').toBe(true)
    programs = mkdtempSync(join(tmpdir(), 'lunar-path-'))
    writeFileSync(join(programs, 'lunar'), `#!/bin/sh\nexec '${process.execPath}' '${join(root, 'bin', 'lunar.cjs')}' "$@"\n`, { mode: 0o755 })
  })
  afterAll(() => {
    rmSync(programs, { recursive: true, force: true })
  })
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'lunar-docs-'))
  })
  afterEach(() => {
    rmSync(folder, { recursive: true, force: true })
  })

  test.each(pages.map(page => [page]))('%s', { timeout: 120_000 }, page => {
    const { LUNAR_POOL: _pool, ...env } = process.env
    const blocks = blocksOf(page)
    expect(blocks.length).toBeGreaterThan(0)
    for (const block of blocks) {
      const { status, stdout, stderr } = spawnSync('sh', ['-eu', '-c', block], {
        cwd: folder,
        env: { ...env, LUNAR_HOME: join(folder, 'home'), NO_COLOR: '1', PATH: `${programs}:${dirname(process.execPath)}:${process.env['PATH'] ?? ''}` },
        encoding: 'utf8',
        timeout: 60_000,
      })
      expect(status, `${block}\n${stdout}\n${stderr}`).toBe(0)
    }
  })
})

describe('documentation', () => {
  test('links lead somewhere', () => {
    const broken = allPages.flatMap(page =>
      [...read(page).matchAll(/\]\(([^)#]+)(?:#[^)]*)?\)/g)]
        .map(match => match[1]!)
        .filter(target => !/^https?:/.test(target) && !existsSync(join(root, dirname(page), target)))
        .map(target => `${page}: ${target}`),
    )
    expect(broken).toEqual([])
  })

  test('README has at most two screens, and leads to every how-to page', () => {
    const text = read('README.md')
    expect(text.split('\n').length).toBeLessThanOrEqual(100)
    expect(howTo.filter(page => !text.includes(`(${page})`))).toEqual([])
  })

  test('every exit status is explained', () => {
    const text = read('docs/how-to/exit-codes.md')
    const explained = [...text.matchAll(/^\| (\d+) \|/gm)].map(match => Number(match[1]))
    expect(explained).toEqual([0, ...new Set(Object.values(errorTable).map(({ exit }) => exit))].sort((a, b) => a - b))
  })

  test('every dependency has its reason', () => {
    const { dependencies, devDependencies } = JSON.parse(read('package.json')) as Record<string, Record<string, string>>
    const named = [...read('docs/dependencies.md').matchAll(/^\| `([^`]+)`/gm)].map(match => match[1]!)
    expect(named.sort()).toEqual([...Object.keys(dependencies!), ...Object.keys(devDependencies!)].sort())
  })

  test('no page names a folder of the machine it was written on', () => {
    const home = relative('/', root).split('/')[0]!
    expect(allPages.filter(page => new RegExp(`(^|[^\\w./-])/(${home}|root|tmp)/`, 'm').test(read(page)))).toEqual([])
  })
})

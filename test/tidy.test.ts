/** Imports point down, commands are all in their table, and no file grows into more than one idea. */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, sep } from 'node:path'
import { describe, expect, test } from 'vitest'

const root = join(import.meta.dirname, '..')
const source = join(root, 'src')

/** Rooms that a room may import from, besides itself (docs/architecture.md). Only the program and the library import `commands`. */
const layers: readonly (readonly string[])[] = [
  ['core/base'],
  ['core/block'],
  ['metadata', 'core/raid', 'core/process', 'core/nbd'],
  ['core/pool'],
  ['core/lun'],
  ['core/wod'],
  ['core/snapshot'],
  ['core/server'],
  ['core/cli', 'library'],
  ['commands'],
]
/** Files directly in src/ put rooms together: the program (main.ts) and the library (index.ts). */
const TOP = 'top'

const files = readdirSync(source, { recursive: true, encoding: 'utf8' })
  .filter(file => file.endsWith('.ts'))
  .map(file => file.split(sep).join('/'))

const rooms = layers.flat()
const roomOf = (file: string): string => rooms.find(room => file.startsWith(`${room}/`)) ?? (file.includes('/') ? `unknown room of ${file}` : TOP)
const levelOf = (room: string): number => (room === TOP ? layers.length : layers.findIndex(layer => layer.includes(room)))

/** Relative imports of a file, static and dynamic, also those of types only: a room must be understood without those above it. */
export function importsOf(file: string, text: string): string[] {
  const found: string[] = []
  for (const match of text.matchAll(/(?:\bfrom\s+|\bimport\s*\(\s*|\bimport\s+)['"](\.[^'"]+)['"]/g))
    found.push(
      relative(source, join(source, dirname(file), match[1]!))
        .split(sep)
        .join('/'),
    )
  return found
}

/** Whether a file of room `from` may import one of room `to`. */
export function mayImport(from: string, to: string): boolean {
  return from === to || (levelOf(to) !== -1 && levelOf(from) > levelOf(to))
}

describe('imports', () => {
  test('every file lies in a known room', () => {
    expect(files.map(roomOf).filter(room => room.startsWith('unknown'))).toEqual([])
  })

  test('point down', () => {
    const wrong = files.flatMap(file =>
      importsOf(file, readFileSync(join(source, file), 'utf8'))
        .filter(target => !mayImport(roomOf(file), roomOf(target)))
        .map(target => `${file} imports ${target}`),
    )
    expect(wrong).toEqual([])
  })

  test('the check knows up from down, and sideways', () => {
    expect(mayImport('core/pool', 'metadata')).toBe(true)
    expect(mayImport('metadata', 'core/pool')).toBe(false)
    expect(mayImport('core/raid', 'metadata')).toBe(false)
    expect(mayImport('core/server', 'commands')).toBe(false)
    expect(importsOf('core/cli/x.ts', `import type { A } from '../server/api.ts'\nconst b = import('../lun/transfer.ts')`)).toEqual([
      'core/server/api.ts',
      'core/lun/transfer.ts',
    ])
  })
})

describe('source', () => {
  test('has no marks of unfinished work', () => {
    const marked = files.filter(file => /\b(TODO|FIXME|XXX|HACK)\b/.test(readFileSync(join(source, file), 'utf8')))
    expect(marked).toEqual([])
  })

  test('names no registry and no folder of the machine it was written on', () => {
    const marked = ['package.json', 'package-lock.json', '.npmrc', 'scripts/test.mjs', '.ci/run'].filter(file =>
      /registry\.[a-z]+\.|"resolved": "http/.test(readFileSync(join(root, file), 'utf8')),
    )
    expect(marked).toEqual([])
  })
})

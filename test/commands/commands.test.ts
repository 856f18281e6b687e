/** What holds for all commands: the table, the manifest, help, examples, shared flags. */
import { readdirSync, readFileSync } from 'node:fs'
import { join, sep } from 'node:path'
import { Plugin } from '@oclif/core/config'
import { describe, expect, test } from 'vitest'
import { commands } from '../../src/commands/index.ts'
import { lunar, root } from '../core/cli/surroundings.ts'

interface Shape {
  summary?: string
  examples?: string[]
  flags: Record<string, object>
  baseFlags: Record<string, object>
  args: Record<string, object>
}
const shapes = Object.entries(commands).map(([id, command]) => ({ id, ...(pick(command) as Shape) }))
function pick(command: unknown): unknown {
  const { summary, examples, flags = {}, baseFlags = {}, args = {} } = command as Partial<Shape>
  return { summary, examples, flags, baseFlags, args }
}

const tableOne = [
  ...['EnableSnap', 'EnableNewSnap', 'DisableSnap', 'GetSnapConfig', 'GetSnapActiveConfig', 'GetSnapStatus'],
  ...['CompleteImage', 'ImageUpdate', 'SourceUpdate'].flatMap(process => [`Start${process}`, `Stop${process}`, `Set${process}Delay`]),
]
const changing = [
  ...tableOne.filter(id => !id.startsWith('Get')),
  'disk:add',
  'disk:label',
  'disk:offline',
  'disk:online',
  'disk:remove',
  'disk:replace',
  'lun:create',
  'lun:delete',
  'lun:export',
  'lun:import',
  'lun:read',
  'lun:protect',
  'lun:rename',
  'lun:resize',
  'lun:set',
  'host:set',
  'lun:swap',
  'lun:trim',
  'lun:unprotect',
  'lun:write',
  'lun:zero',
  'pool:create',
  'pool:destroy',
  'pool:export',
  'pool:import',
  'pool:set',
  'snap:clone',
  'snap:configure',
  'snap:create',
  'snap:delete',
  'snap:refresh',
  'snap:restore',
  'snap:rotate',
  'snap:schedule:create',
  'snap:schedule:delete',
  'snap:schedule:pause',
  'snap:schedule:resume',
  'snap:schedule:run',
  'snap:unconfigure',
  'store:compact',
  'store:create',
  'store:delete',
  'store:resize',
  'task:pause',
  'task:resume',
  'task:stop',
  'rstore:repair',
  'wod:create',
  'wod:delete',
  'wod:reallocate',
  'host:add',
  'host:remove',
  'present',
  'server:stop',
  'unpresent',
]
const destructive = [
  'disk:remove',
  'disk:replace',
  'lun:delete',
  'lun:import',
  'lun:trim',
  'lun:zero',
  'pool:destroy',
  'snap:delete',
  'snap:refresh',
  'snap:restore',
  'snap:unconfigure',
  'store:delete',
  'wod:delete',
  'wod:reallocate',
]
const lists = [
  'disk:list',
  'explain',
  'host:list',
  'lun:list',
  'lun:map',
  'pool:events',
  'pool:history',
  'pool:import',
  'pool:list',
  'rstore:list',
  'snap:diff',
  'snap:list',
  'snap:maps',
  'snap:schedule:list',
  'snap:tree',
  'store:list',
  'task:list',
  'wod:list',
]
const withoutPool = ['explain', 'pool:create', 'pool:destroy', 'pool:import', 'pool:list', 'serve']

test('every file under commands/ is in the table, under its own name', () => {
  const files = readdirSync(join(root, 'src', 'commands'), { recursive: true, encoding: 'utf8' })
    .filter(file => file.endsWith('.ts') && file !== 'index.ts')
    .map(file => file.slice(0, -'.ts'.length).split(sep).join(':'))
  expect(Object.keys(commands).sort()).toEqual(files.sort())
})

/** Makes the manifest from the sources instead of the bundle, which may be older. */
class SourcePlugin extends Plugin {
  constructor() {
    super({ root, ignoreManifest: true, errorOnManifestCreate: true, type: 'core' })
    Object.assign(this, { loadCommandsFromTarget: () => Promise.resolve(commands) })
  }
}

test('oclif.manifest.json is what the commands say; npm run build writes it', async () => {
  const plugin = new SourcePlugin()
  await plugin.load()
  const made: unknown = JSON.parse(JSON.stringify(plugin.manifest))
  expect(JSON.parse(readFileSync(join(root, 'oclif.manifest.json'), 'utf8'))).toEqual(made)
})

describe.each(shapes)('$id', ({ id, summary, examples, flags, baseFlags, args }) => {
  test('has a summary without a final period', () => {
    expect(summary).toMatch(/^[A-Z].*[^.]$/)
  })

  test('has two or three examples of itself, as plain command lines', () => {
    const own = `lunar ${id.replaceAll(':', ' ')}`
    expect(examples?.length).toBeGreaterThanOrEqual(2)
    expect(examples?.length).toBeLessThanOrEqual(3)
    expect(examples?.[0]).toMatch(new RegExp(`^${own}( |$)`))
    for (const example of examples ?? []) expect(example).toMatch(/^lunar [A-Za-z]/)
  })

  test('describes each argument and flag', () => {
    for (const each of [...Object.values(flags), ...Object.values(args)]) expect(each).toHaveProperty('description', expect.stringMatching(/\w/))
  })

  test('no argument is read from stdin', () => {
    for (const arg of Object.values(args)) expect(arg).toHaveProperty('ignoreStdin', true)
  })

  test('has the flags of its kind', () => {
    expect(Object.keys(baseFlags)).toContain('json')
    const has = (...names: string[]): boolean => names.every(name => name in flags)
    expect({ dryRun: has('dry-run'), yes: has('yes'), list: has('output', 'sort', 'no-header', 'bytes'), pool: has('pool') }).toEqual({
      dryRun: changing.includes(id),
      yes: destructive.includes(id),
      list: lists.includes(id),
      pool: !withoutPool.includes(id),
    })
  })
})

test('the fifteen commands of Table 1 are there by exactly these names', () => {
  expect(tableOne).toHaveLength(15)
  expect(Object.keys(commands)).toEqual(expect.arrayContaining(tableOne))
})

test.each(lists.filter(id => id !== 'pool:import'))('%s: -o help needs no pool', async id => {
  const args = id === 'lun:map' ? ['db'] : id === 'snap:maps' ? ['1'] : id === 'snap:diff' ? ['db@a', 'db'] : []
  const outcome = await lunar([...id.split(':'), ...args, '-o', 'help'])
  expect(outcome).toMatchObject({ status: 0, err: '', opened: [] })
  expect(outcome.out).toMatch(/^COLUMN/)
})

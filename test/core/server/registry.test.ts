import { mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { randomUuid } from '../../../src/core/base/uuid.ts'
import { Registry } from '../../../src/core/server/registry.ts'
import { stateFolder } from '../../../src/core/server/folders.ts'
import { VERSION } from '../../../src/core/server/version.ts'
import manifest from '../../../package.json' with { type: 'json' }
import { useHome } from './support/home.ts'

useHome()
const folder = (): string => join(stateFolder(), 'pools')

describe('Registry', () => {
  it('remembers, replaces and forgets', () => {
    const registry = new Registry()
    const a = { id: randomUuid(), name: 'a', disks: [{ path: '/x/1', id: randomUuid() }, { path: '/x/2' }] }
    const b = { id: randomUuid(), name: 'b', disks: [] }
    registry.remember(b)
    registry.remember(a)
    expect(new Registry().list()).toEqual([a, b])
    registry.remember({ ...a, name: 'c' })
    expect(new Registry().get(a.id)).toEqual({ ...a, name: 'c' })
    registry.forget(a.id)
    registry.forget(a.id)
    expect(new Registry().list()).toEqual([b])
    expect(readdirSync(folder())).toHaveLength(1)
    expect(statSync(join(folder(), `${b.id}.json`)).mode & 0o777).toBe(0o600)
  })

  it('writes nothing when nothing changed', () => {
    const pool = { id: randomUuid(), name: 'a', disks: [{ path: '/x/1' }] }
    new Registry().remember(pool)
    const before = statSync(join(folder(), `${pool.id}.json`)).ino
    new Registry().remember(pool)
    expect(statSync(join(folder(), `${pool.id}.json`)).ino).toBe(before)
  })

  it('leaves out what makes no sense', () => {
    const id = randomUuid()
    mkdirSync(folder(), { recursive: true })
    const cases = ['', '{', 'null', '[]', '{"id":1}', JSON.stringify({ id: randomUuid(), name: 'x', disks: [] }), JSON.stringify({ id, name: 'x', disks: 'y' })]
    for (const text of cases) {
      writeFileSync(join(folder(), `${id}.json`), text)
      expect(new Registry().list()).toEqual([])
    }
    writeFileSync(
      join(folder(), `${id}.json`),
      JSON.stringify({ id, name: 'x', disks: [{ path: 'relative' }, { path: '/a\0b' }, 5, null, { path: '/ok', id: 'no' }] }),
    )
    writeFileSync(join(folder(), 'other.json'), '{}')
    mkdirSync(join(folder(), `${randomUuid()}.json`))
    expect(new Registry().list()).toEqual([{ id, name: 'x', disks: [{ path: '/ok' }] }])
  })

  it('looks where LUNAR_HOME says, else in the XDG state folder', () => {
    expect(stateFolder({ LUNAR_HOME: '/a', XDG_STATE_HOME: '/b' })).toBe('/a')
    expect(stateFolder({ XDG_STATE_HOME: '/b' })).toBe('/b/lunar')
    expect(stateFolder({})).toMatch(/\.local\/state\/lunar$/)
  })
})

it('has the version of the package', () => {
  expect(VERSION).toBe(manifest.version)
})

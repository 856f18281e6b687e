import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach } from 'vitest'
import { useEngine } from '../../../../src/core/server/engine-module.ts'
import type { PoolService } from '../../../../src/core/server/api.ts'
import { createPool, openService } from '../../../../src/core/server/front.ts'
import { fakeEngine, type FakeHooks } from './fake-engine.ts'
import { MIB } from '../../../../src/core/base/units.ts'

/** A folder of its own and a state folder in it for every test; the fake engine unless a test takes another. */
export function useHome(): { readonly folder: string; path(name: string): string } {
  const home = { folder: '', path: (name: string) => join(home.folder, name) }
  const before = process.env.LUNAR_HOME
  beforeEach(() => {
    home.folder = mkdtempSync(join(tmpdir(), 'lunar-server-'))
    process.env.LUNAR_HOME = join(home.folder, 'state')
    useEngine(fakeEngine())
  })
  afterEach(() => {
    if (before === undefined) delete process.env.LUNAR_HOME
    else process.env.LUNAR_HOME = before
    useEngine(undefined)
    rmSync(home.folder, { recursive: true, force: true })
  })
  return home
}

export const hook = (hooks: FakeHooks): void => {
  useEngine(fakeEngine(hooks))
}

/** Makes pool `tank` of sparse 64 MiB disks. @returns the paths */
export async function makeTank(folder: string, count = 2, name = 'tank'): Promise<string[]> {
  const disks = Array.from({ length: count }, (_, i) => join(folder, `${name === 'tank' ? 'd' : name}${i}.img`))
  await createPool({ name, disks: disks.map(path => ({ path, size: 64 * MIB })), command: 'test' })
  return disks
}

export const owner = (pool = 'tank', command = 'test owner'): Promise<PoolService> => openService(pool, { mode: 'owner', command })
export const view = (pool = 'tank'): Promise<PoolService> => openService(pool, { mode: 'view', command: 'test view' })

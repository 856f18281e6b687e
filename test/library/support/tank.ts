/** Pools of the library on image files, with a state folder of their own. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect } from 'vitest'
import { createPool, openPools, type ErrorCode } from '../../../src/index.ts'
import { MIB } from '../../../src/core/base/units.ts'

export interface Tank {
  folder: string
  path(name: string): string
  /** Makes a pool on `count` images of 128 MiB, named after it. @returns their paths */
  make(name?: string, count?: number): Promise<string[]>
}

/** A folder and a state folder for every test; what a test left open is closed. */
export function useTank(): Tank {
  const before = process.env['LUNAR_HOME']
  const tank: Tank = {
    folder: '',
    path: name => join(tank.folder, name),
    make: async (name = 'tank', count = 3) => {
      const disks = Array.from({ length: count }, (_, i) => ({ path: tank.path(`${name}${i}.img`), size: 128 * MIB }))
      await createPool({ name, disks })
      return disks.map(({ path }) => path)
    },
  }
  beforeEach(() => {
    tank.folder = mkdtempSync(join(tmpdir(), 'lunar-library-'))
    process.env['LUNAR_HOME'] = tank.path('home')
  })
  afterEach(async () => {
    for (const pool of openPools()) await pool.close()
    if (before === undefined) delete process.env['LUNAR_HOME']
    else process.env['LUNAR_HOME'] = before
    rmSync(tank.folder, { recursive: true, force: true })
  })
  return tank
}

/** Fails unless `act` is refused with the code. */
export async function refused(code: ErrorCode, act: () => unknown): Promise<void> {
  await expect((async () => act())()).rejects.toMatchObject({ name: 'LunarError', code })
}

/** `length` bytes, each 512 of them with a number of their own and `stamp`. */
export function stamps(length: number, stamp: number): Buffer {
  const bytes = Buffer.alloc(length)
  for (let at = 0; at < length; at += 512) {
    bytes.writeUInt32LE(at / 512, at)
    bytes.writeUInt32LE(stamp, at + 4)
  }
  return bytes
}

/**
 * Remembers where the disks of each pool were last seen, one small JSON file a pool, so that two commands never
 * overwrite each other's entry. It is only a memory: labels decide, and losing it costs nothing (`pool import`).
 */
import { closeSync, fsyncSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import { errnoOf, LunarError } from '../base/errors.ts'
import { randomUuid } from '../base/uuid.ts'
import { isNbdUri } from '../nbd/uri.ts'
import { stateFolder } from './folders.ts'

export interface KnownDisk {
  readonly path: string
  /** Id of the disk, when its label was read. */
  readonly id?: string
}

export interface KnownPool {
  readonly id: string
  readonly name: string
  readonly disks: readonly KnownDisk[]
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
const ENTRY_BYTES_MAX = 1024 * 1024
const DISKS_MAX = 4096

export class Registry {
  private readonly folder: string

  constructor(state: string = stateFolder()) {
    this.folder = join(state, 'pools')
  }

  /** All known pools by name. What cannot be read or makes no sense is left out. */
  list(): KnownPool[] {
    let names: string[]
    try {
      names = readdirSync(this.folder)
    } catch (error) {
      if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return []
      throw unreadable(this.folder, error)
    }
    const pools: KnownPool[] = []
    for (const name of names) {
      if (!name.endsWith('.json') || !UUID.test(name.slice(0, -5))) continue
      const pool = this.get(name.slice(0, -5))
      if (pool) pools.push(pool)
    }
    return pools.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : a.id < b.id ? -1 : 1))
  }

  get(id: string): KnownPool | undefined {
    let text: string
    try {
      text = readFileSync(this.file(id), 'utf8')
    } catch (error) {
      const errno = errnoOf(error)
      if (errno === 'ENOENT' || errno === 'EISDIR' || errno === 'ENOTDIR') return undefined
      throw unreadable(this.file(id), error)
    }
    const pool = parse(text)
    return pool?.id === id ? pool : undefined
  }

  /** Replaces the entry of the pool, atomically; writes nothing when it says the same already. */
  remember(pool: KnownPool): void {
    const text = `${JSON.stringify({ id: pool.id, name: pool.name, disks: pool.disks }, null, 2)}\n`
    const old = this.get(pool.id)
    if (old && JSON.stringify(old) === JSON.stringify(parse(text))) return
    try {
      mkdirSync(this.folder, { recursive: true, mode: 0o700 })
      this.replace(this.file(pool.id), text)
    } catch (error) {
      throw new LunarError('ERR_FAILED', `Cannot remember where the disks of pool ${pool.name} are`, {
        cause: error,
        fix: 'make the state folder writable (LUNAR_HOME); until then find the pool with: lunar pool import DIR',
      })
    }
  }

  forget(id: string): void {
    rmSync(this.file(id), { force: true })
  }

  private file(id: string): string {
    return join(this.folder, `${id}.json`)
  }

  private replace(path: string, text: string): void {
    const temporary = `${path}.${randomUuid()}.tmp`
    try {
      const fd = openSync(temporary, 'wx', 0o600)
      try {
        writeSync(fd, text)
        fsyncSync(fd)
      } finally {
        closeSync(fd)
      }
      renameSync(temporary, path)
    } catch (error) {
      rmSync(temporary, { force: true })
      throw error
    }
  }
}

/** @returns undefined for anything that is not an entry: the file may be old, cut short or another program's */
function parse(text: string): KnownPool | undefined {
  if (text.length > ENTRY_BYTES_MAX) return undefined
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
  if (typeof value !== 'object' || value === null) return undefined
  const { id, name, disks } = value as Record<string, unknown>
  if (typeof id !== 'string' || !UUID.test(id) || typeof name !== 'string' || !Array.isArray(disks) || disks.length > DISKS_MAX) return undefined
  return { id, name, disks: disks.flatMap(parseDisk) }
}

function parseDisk(value: unknown): KnownDisk[] {
  if (typeof value !== 'object' || value === null) return []
  const { path, id } = value as Record<string, unknown>
  if (typeof path !== 'string' || !(isAbsolute(path) || isNbdUri(path)) || path.includes('\0')) return []
  return [typeof id === 'string' && UUID.test(id) ? { path, id } : { path }]
}

function unreadable(path: string, error: unknown): LunarError {
  return new LunarError('ERR_HOST_LIMIT', `Cannot read ${path}`, { cause: error })
}

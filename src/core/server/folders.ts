import { chmodSync, lstatSync, mkdirSync } from 'node:fs'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { errnoOf, LunarError } from '../base/errors.ts'

/** Where Lunar remembers things between commands: `LUNAR_HOME`, else the XDG state folder. */
export function stateFolder(env: NodeJS.ProcessEnv = process.env): string {
  if (env.LUNAR_HOME) return resolve(env.LUNAR_HOME)
  if (env.XDG_STATE_HOME) return resolve(env.XDG_STATE_HOME, 'lunar')
  return join(homedir(), '.local', 'state', 'lunar')
}

/** Where control sockets may live, best first. All are short: a socket's path ends at 107 bytes (hazard 40). */
export function socketFolders(env: NodeJS.ProcessEnv = process.env): string[] {
  const own = env.XDG_RUNTIME_DIR ? [join(env.XDG_RUNTIME_DIR, 'lunar')] : []
  return ['/run/lunar', ...own, `/tmp/lunar-${process.geteuid?.() ?? 0}`]
}

export const SOCKET_PATH_MAX = 107

/** The first of `folders` that can be made ours alone, 0700, before anything is bound in it. */
export function privateFolder(folders: readonly string[], nameLength: number): string {
  const refused: string[] = []
  for (const folder of folders) {
    const why = Buffer.byteLength(folder) + 1 + nameLength > SOCKET_PATH_MAX ? 'its path is too long' : claim(folder)
    if (why === undefined) return folder
    refused.push(`${folder}: ${why}`)
  }
  throw new LunarError('ERR_HOST_LIMIT', 'Cannot make a folder for the control socket', { why: refused.join('; ') })
}

/** @returns why the folder cannot be ours alone, or undefined when it is */
function claim(folder: string): string | undefined {
  try {
    mkdirSync(folder, { mode: 0o700 })
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') return errnoOf(error) ?? String(error)
  }
  const stat = lstatSync(folder)
  if (!stat.isDirectory()) return 'it is not a folder'
  if (stat.uid !== (process.geteuid?.() ?? stat.uid)) return 'it belongs to another user'
  if ((stat.mode & 0o077) !== 0) chmodSync(folder, 0o700)
  return undefined
}

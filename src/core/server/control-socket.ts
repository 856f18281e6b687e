import { chmodSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Server } from 'node:net'
import { LunarError } from '../base/errors.ts'
import { isAnswered } from '../base/sockets.ts'
import { privateFolder, socketFolders } from './folders.ts'

/** Hex digits of the pool's id in the name of its socket. */
const SHORT_ID = 12

/**
 * Makes `server` listen on the socket of the pool, in a folder that is ours alone before anything is bound there. What
 * a dead owner left is replaced; when a living one of another pool with this id has the name (copied images), the
 * instance makes it another.
 *
 * @returns the path of the socket
 */
export async function bindSocket(server: Server, poolId: string, instance: string, folders: readonly string[] = socketFolders()): Promise<string> {
  const short = poolId.replaceAll('-', '').slice(0, SHORT_ID)
  const unique = `${short}-${instance.slice(0, 8)}.sock`
  const folder = privateFolder(folders, unique.length)
  const usual = join(folder, `${short}.sock`)
  const path = (await isAnswered(usual)) ? join(folder, unique) : usual
  try {
    rmSync(path, { force: true })
    await listen(server, path)
    chmodSync(path, 0o600)
  } catch (error) {
    throw new LunarError('ERR_HOST_LIMIT', `Cannot listen on ${path}`, { cause: error })
  }
  return path
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

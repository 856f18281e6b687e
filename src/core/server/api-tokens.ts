/** Who may use the HTTP API: a file with a line for each client, its name and its token. */
import { createHash, timingSafeEqual } from 'node:crypto'
import { open } from 'node:fs/promises'
import { LunarError } from '../base/errors.ts'

/** A client that has shown its token. */
export interface ApiClient {
  readonly name: string
  readonly readOnly: boolean
}

interface Entry extends ApiClient {
  /** SHA-256 of the token: of equal length for all, so comparing takes the same for all. */
  readonly digest: Buffer
}

const FILE_BYTES_MAX = 1024 * 1024
const LINE = /^([A-Za-z0-9][\w.-]{0,62})[ \t]+([A-Za-z0-9._~+/-]{32,}=*)(?:[ \t]+(read-only))?$/

/**
 * @param path a file of lines `NAME TOKEN` or `NAME TOKEN read-only`; empty ones and those that begin with `#` mean nothing
 * @throws LunarError `ERR_FILE_NOT_FOUND`; `ERR_USAGE` when others than its owner may read it, or a line is none of these
 */
export async function readTokens(path: string): Promise<readonly Entry[]> {
  const file = await open(path).catch((cause: unknown) => {
    throw new LunarError('ERR_FILE_NOT_FOUND', `Cannot read the tokens in ${path}`, { cause })
  })
  try {
    const { mode, size } = await file.stat()
    const refuse = (why: string, fix: string): never => {
      throw new LunarError('ERR_USAGE', `Cannot use the tokens in ${path}`, { why, fix })
    }
    if ((mode & 0o077) !== 0) refuse('others than its owner can read or change it', `chmod 600 ${path}`)
    if (size > FILE_BYTES_MAX) refuse(`it has ${size} bytes`, 'it is a line for each client: NAME TOKEN')
    const lines = (await file.readFile('utf8')).split('\n').map(line => line.trim())
    const entries = lines.flatMap((line, i): Entry[] => {
      if (line === '' || line.startsWith('#')) return []
      const [, name, token, readOnly] = LINE.exec(line) ?? []
      if (name === undefined || token === undefined)
        return refuse(
          `line ${i + 1} is no name, token of 32 characters or more, and perhaps read-only`,
          'make a line: echo "NAME $(openssl rand -hex 32)"', //
        )
      return [{ name, digest: digestOf(token), readOnly: readOnly !== undefined }]
    })
    if (entries.length === 0) refuse('it has none', 'make a line: echo "NAME $(openssl rand -hex 32)"')
    return entries
  } finally {
    await file.close()
  }
}

const digestOf = (token: string): Buffer => createHash('sha256').update(token).digest()

/**
 * The client whose token it is. What it takes tells nothing of the tokens that are good: all are compared, each by its digest and in constant time.
 * @param authorization the header of that name, `Bearer TOKEN`
 */
export function clientOf(entries: readonly Entry[], authorization: string | undefined): ApiClient | undefined {
  const shown = digestOf(/^Bearer +(\S+)$/i.exec(authorization ?? '')?.[1] ?? '')
  let found: Entry | undefined
  for (const entry of entries) if (timingSafeEqual(entry.digest, shown)) found = entry
  return found
}

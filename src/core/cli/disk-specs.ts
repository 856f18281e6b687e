/** Disks as commands name them: paths, sizes for those to be made, failure domains for all or one of them. */
import { LunarError } from '../base/errors.ts'
import { MIB } from '../base/units.ts'
import type { DiskSpec } from '../server/api.ts'

/** Bytes of a witness that does not exist yet. */
export const WITNESS_SIZE = 64 * MIB

/**
 * @param disks paths, with the bytes of files that do not exist yet
 * @param domains `rack1` for all disks, `d1.img=rack1` for one
 * @throws LunarError `ERR_USAGE` when a domain names a disk that is not among them
 */
export function diskSpecs(disks: readonly { readonly path: string; readonly size: number | undefined }[], domains: readonly string[]): DiskSpec[] {
  let all: string | undefined
  const single = new Map<string, string>()
  for (const text of domains) {
    const at = text.lastIndexOf('=')
    if (at === -1) all = text
    else single.set(text.slice(0, at), text.slice(at + 1))
  }
  for (const path of single.keys()) {
    if (!disks.some(disk => disk.path === path))
      throw new LunarError('ERR_USAGE', `Cannot set a failure domain for "${path}"`, {
        why: 'it is not one of the disks of this command',
        fix: 'write --domain FILE=DOMAIN with the same FILE',
      })
  }
  return disks.map(({ path, size }) => {
    const domain = single.get(path) ?? all
    return { path, ...(size === undefined ? {} : { size }), ...(domain === undefined ? {} : { domain }) }
  })
}

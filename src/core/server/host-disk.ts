/** What pools lie on: image files and block devices of this host, and exports of NBD servers; and how both are named. */
import { resolve } from 'node:path'
import type { FileDisk } from '../block/file.ts'
import type { NbdDisk } from '../nbd/nbd-disk.ts'
import { absoluteUri, exportIdentity, isNbdUri, parseNbdUri } from '../nbd/uri.ts'

export type HostDisk = FileDisk | NbdDisk

export const isFileDisk = (disk: HostDisk): disk is FileDisk => 'fds' in disk

/** The same place, named so that it does not matter where the name is used. @throws LunarError `ERR_USAGE` for a URI that is none */
export const absolutePlace = (place: string): string => (isNbdUri(place) ? absoluteUri(place) : resolve(place))

/** What a disk opened there would have as its identity; undefined where nothing is. */
export async function identityOf(place: string): Promise<string | undefined> {
  if (isNbdUri(place)) return exportIdentity(parseNbdUri(place))
  const { identityAt } = await import('../block/file.ts')
  return identityAt(resolve(place))
}

/** Whether the handle still leads to what its name does. @throws LunarError `ERR_IO`, `ERR_HOST_LIMIT` */
export async function isStillThere(disk: HostDisk): Promise<boolean> {
  if (!isFileDisk(disk)) return !disk.remote.isLost
  const faults = await disk.watchFaults()
  return !faults.unlinked && !faults.replaced
}

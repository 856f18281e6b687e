/** What a volume holds for its hosts: where it is being restored and not copied back yet, what it is restored to. */
import { settle } from '../../base/settle.ts'
import type { Extent } from '../../block/device.ts'
import type { ThroughVolume } from './snapshot-volume.ts'
import type { Tree } from './tree.ts'

interface Restorable extends ThroughVolume {
  readonly tree: Tree | undefined
}

export async function readPresent(volume: Restorable, offset: number, into: Uint8Array): Promise<void> {
  if (!volume.tree?.restoring) return volume.readThrough(offset, into)
  await volume.tree.present(offset, into.length, parts =>
    settle(
      parts.map(part => (part.restoring?.device ?? volume).readThrough(part.offset, into.subarray(part.offset - offset, part.offset - offset + part.length))),
    ),
  )
}

export async function presentExtents(volume: Restorable, offset: number, length: number): Promise<Extent[]> {
  if (!volume.tree?.restoring) return volume.extentsThrough(offset, length)
  return volume.tree.present(offset, length, async parts => {
    const extents: Extent[] = []
    for (const part of parts) extents.push(...(await (part.restoring?.device ?? volume).extentsThrough(part.offset, part.length)))
    return extents
  })
}

/** Which ways through the engine a simulation went: calls of methods, counted from outside. */
import { WriteBackHold } from '../../src/core/block/hold.ts'
import { Lun } from '../../src/core/lun/lun.ts'
import { Luns } from '../../src/core/lun/luns.ts'
import { SliceBinder } from '../../src/core/lun/slice-binding.ts'
import { SliceSpace } from '../../src/core/lun/slice-space.ts'
import { LunStores } from '../../src/core/pool/lun-stores.ts'
import { MirrorStore } from '../../src/core/pool/mirror-store.ts'
import { ParityStore } from '../../src/core/pool/parity-store.ts'
import { Pool } from '../../src/core/pool/pool.ts'
import { Relationships } from '../../src/core/snapshot/relationships.ts'
import { SnapshotVolume } from '../../src/core/snapshot/tree/snapshot-volume.ts'
import { TreeCopies } from '../../src/core/snapshot/tree/tree.ts'
import { Trees } from '../../src/core/snapshot/tree/trees.ts'
import { Volume } from '../../src/core/snapshot/volume.ts'
import { CompleteImage, Update } from '../../src/core/snapshot/updates.ts'
import { Metadata } from '../../src/metadata/metadata.ts'

/** What a simulation that says something must have gone through. A method that is renamed must be renamed here. */
const watched: readonly (readonly [{ readonly name: string; readonly prototype: object }, readonly string[]])[] = [
  [WriteBackHold, ['hold', 'drain']],
  [Lun, ['tryRead', 'tryWrite', 'readGroup', 'writeGroup', 'writeZeros', 'flush']],
  [SliceBinder, ['bindTo', 'join', 'homeStore', 'disksOfRegion', 'anyFreeSlice']],
  [SliceSpace, ['cleanNow', 'cleanSome', 'unbindSlices', 'removeStore']],
  [LunStores, ['prepareWrite', 'closeOpen', 'staleFor', 'resync', 'resyncParity', 'resynced', 'forget', 'openWith']],
  [MirrorStore, ['legsFailed', 'resync']],
  [ParityStore, ['readFromOthers', 'writeLogged', 'writeWhole', 'verify', 'resync', 'voidSlice', 'replay']],
  [Luns, ['create', 'rename', 'resize', 'delete', 'reclaim', 'reclaimTail']],
  [Pool, ['cleanFreed', 'failDisk', 'diskFailed', 'offline', 'online', 'merged', 'addDisks', 'setDomain', 'relabel', 'quiesce']],
  [Volume, ['readAsHost', 'readThrough', 'writeSmall', 'changeLocked', 'perform', 'preserve', 'oldBytes', 'put', 'cannotPreserve', 'fillEdges']],
  [Relationships, ['configure', 'unconfigure', 'enable', 'disable', 'startComplete', 'stopComplete', 'startUpdate', 'finishUpdate', 'tidy', 'settle']],
  [Trees, ['create', 'delete', 'refresh', 'tidy']],
  [SnapshotVolume, ['readThrough', 'put', 'overwrite']],
  [TreeCopies, ['write', 'commit']],
  [CompleteImage, ['copy']],
  [Update, ['copy']],
  [Metadata, ['commitGroup', 'tryCheckpoint', 'voteOut', 'writeVote', 'addMember', 'removeMember', 'refreshCopies']],
]

export class Paths {
  readonly calls = new Map<string, number>()
  private readonly undo: (() => void)[] = []

  constructor() {
    for (const [type, methods] of watched) {
      const prototype = type.prototype as Record<string, (...args: unknown[]) => unknown>
      for (const method of methods) {
        const original = prototype[method]
        if (typeof original !== 'function') throw new Error(`${type.name} has no method ${method} any more`)
        const name = `${type.name}.${method}`
        const { calls } = this
        calls.set(name, 0)
        prototype[method] = function (this: unknown, ...args: unknown[]): unknown {
          calls.set(name, calls.get(name)! + 1)
          return original.apply(this, args)
        }
        this.undo.push(() => {
          prototype[method] = original
        })
      }
    }
  }

  /** Those that were never called. */
  get missing(): string[] {
    return [...this.calls].filter(([, count]) => count === 0).map(([name]) => name)
  }

  close(): void {
    for (const undo of this.undo) undo()
  }
}

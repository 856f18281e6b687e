/** What hosts can reach: LUNs, snapshots and write-once devices, by name and by number. */
import { LunarError } from '../base/errors.ts'
import { LUN_DELETED, type VolumeKind } from '../../metadata/records.ts'
import type { Luns } from '../lun/luns.ts'
import type { Relationships } from '../snapshot/relationships.ts'
import { Trees } from '../snapshot/tree/trees.ts'
import type { Wods } from '../wod/wods.ts'

export interface Volume {
  readonly kind: VolumeKind
  readonly number: number
  readonly name: string
  /** For messages: `LUN "db"`. */
  readonly label: string
  /** Bytes. */
  readonly size: number
  /** Hosts may write it at all. */
  readonly isWritable: boolean
}

export class PresentableVolumes {
  constructor(
    private readonly luns: Luns,
    private readonly trees: Trees,
    private readonly wods: Wods,
    private readonly relationships: Relationships,
  ) {}

  /** @throws LunarError `ERR_LUN_NOT_FOUND`, `ERR_SNAPSHOT_NOT_FOUND` */
  find(name: string): Volume {
    if (Trees.isName(name)) return this.ofSnapshot(this.trees.find(name))
    const wod = this.wods.named(name)
    return wod ? this.ofWod(wod) : this.ofLun(this.luns.find(name))
  }

  /** @returns undefined when it is not there any more */
  byNumber(kind: VolumeKind, number: number): Volume | undefined {
    switch (kind) {
      case 'lun': {
        const lun = this.luns.byId(number)
        return lun && (lun.record.flags & LUN_DELETED) === 0 ? this.ofLun(lun) : undefined
      }
      case 'snapshot': {
        const snapshot = this.trees.list().find(found => found.number === number)
        return snapshot && this.ofSnapshot(snapshot)
      }
      case 'wod': {
        const wod = this.wods.all.find(found => found.number === number)
        return wod && this.ofWod(wod)
      }
    }
  }

  ofLun(lun: ReturnType<Luns['find']>): Volume {
    return { kind: 'lun', number: lun.number, name: lun.name, label: `LUN "${lun.name}"`, size: lun.size, isWritable: true }
  }

  ofSnapshot(snapshot: ReturnType<Trees['find']>): Volume {
    const { number, name, isWritable, record } = snapshot
    return { kind: 'snapshot', number, name, label: `snapshot "${name}"`, size: record.size, isWritable }
  }

  /** The image of a source is read only; a device that is none takes one write a block. */
  ofWod(wod: ReturnType<Wods['find']>): Volume {
    const { number, name, record, isConfigured } = wod
    return { kind: 'wod', number, name, label: `write-once device "${name}"`, size: record.size, isWritable: !isConfigured }
  }

  /** @throws LunarError `ERR_READ_ONLY`, `ERR_PROTECTED`, `ERR_MIXED`, `ERR_INCOMPLETE`, `ERR_WRITE_ONCE`, `ERR_SNAPSHOT_STORE` */
  checkPresentable(volume: Volume, { readOnly, mixed }: { readonly readOnly: boolean; readonly mixed: boolean }): void {
    if (!volume.isWritable && !readOnly)
      throw new LunarError('ERR_READ_ONLY', `Cannot present ${volume.label} for writing`, {
        why: volume.kind === 'snapshot' ? 'it is frozen' : 'it is the image of a LUN',
        fix: `lunar present ${volume.name} --read-only`,
      })
    if (volume.kind !== 'lun') return
    const lun = this.luns.find(volume.name)
    this.luns.checkOwn(lun, 'present')
    if (lun.isIncomplete) throw new LunarError('ERR_INCOMPLETE', `Cannot present LUN "${lun.name}"`)
    if (lun.isProtected && !readOnly)
      throw new LunarError('ERR_PROTECTED', `Cannot present LUN "${lun.name}" for writing`, {
        why: 'it is protected',
        fix: `lunar present ${lun.name} --read-only, or lunar lun unprotect ${lun.name}`,
      })
    const found = mixed ? undefined : this.relationships.mixedBy(lun)
    if (found)
      throw new LunarError('ERR_MIXED', `Cannot present LUN "${lun.name}"`, {
        why: `${found.reason} (${found.label})`,
        fix: 'let the update end first, or repeat it with --force=mixed',
      })
  }
}

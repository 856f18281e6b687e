import { LunarError } from '../../base/errors.ts'
import { MIB } from '../../base/units.ts'
import type { Lun } from '../../lun/lun.ts'
import type { Luns } from '../../lun/luns.ts'
import { safestOf } from '../../lun/ranges.ts'
import type { Pool } from '../../pool/pool.ts'
import { survivesOf, type Redundancy } from '../../raid/geometry.ts'
import { SlotStore } from './slot-store.ts'
import type { Tree } from './tree.ts'

/** Addresses of a store that nobody gave a size: they take no space before they are used. Bytes. */
export const STORE_SIZE_DEFAULT = 16 * 1024 * 1024 * MIB

/** The stores of a pool: hidden thin LUNs in which trees keep preserved chunks, each shared by several (features.md F3). */
export class Stores {
  private readonly opened = new Map<number, SlotStore>()

  constructor(
    private readonly pool: Pool,
    private readonly luns: Luns,
    private readonly trees: () => readonly Tree[],
  ) {}

  /** In order of number. */
  get all(): Lun[] {
    return this.luns.all.filter(({ isStore }) => isStore)
  }

  slots(store: Lun): SlotStore {
    let slots = this.opened.get(store.number)
    if (!slots) {
      slots = new SlotStore(store, this.pool.metadata)
      this.opened.set(store.number, slots)
    }
    return slots
  }

  treesOf(store: Lun): Tree[] {
    return this.trees().filter(tree => tree.store.lun === store)
  }

  /** @throws LunarError `ERR_STORE_NOT_FOUND` */
  find(name: string): Lun {
    const store = this.all.find(lun => lun.name === name)
    if (!store) throw new LunarError('ERR_STORE_NOT_FOUND', `Cannot find store "${name}" in pool "${this.pool.record.name}"`)
    return store
  }

  /** What a store is called that is made by the first snapshot that needs it. */
  static usualName(raid: Redundancy): string {
    return `snapshots-${raid}`
  }

  /** @throws LunarError `ERR_STORE_NOT_FOUND`, `ERR_EXISTS`, `ERR_REDUNDANCY` when the chunks of a source cannot go there */
  check(name: string | undefined, raid: Redundancy, force: boolean): void {
    if (name === undefined) {
      const usual = Stores.usualName(raid)
      if (!this.all.some(lun => lun.name === usual)) this.luns.checkNew(usual)
      return
    }
    const store = this.find(name)
    if (survivesOf[safestOf(store.types)] < survivesOf[raid] && !force)
      throw new LunarError('ERR_REDUNDANCY', `Cannot keep chunks in store "${name}"`, {
        why: `it is ${store.raid}, less redundant than the source, which is ${raid}`,
        fix: 'name another store, or repeat it with --force=redundancy',
      })
  }

  /** The store of this name, else the usual one of a redundancy, which is made when it is missing. */
  get(name: string | undefined, raid: Redundancy): Promise<Lun> | Lun {
    if (name !== undefined) return this.find(name)
    const usual = Stores.usualName(raid)
    return this.all.find(lun => lun.name === usual) ?? this.create({ name: usual, raid })
  }

  /** @throws LunarError `ERR_EXISTS`, `ERR_BAD_NAME`, `ERR_BAD_SIZE`, `ERR_TOO_FEW_DISKS` */
  create(spec: { readonly name: string; readonly raid: Redundancy; readonly size?: number; readonly dryRun?: boolean }): Promise<Lun> {
    return this.luns.create({
      name: spec.name,
      raid: spec.raid,
      size: spec.size ?? STORE_SIZE_DEFAULT,
      reserve: false,
      store: true,
      dryRun: spec.dryRun === true,
    })
  }

  /** What it may grow to. @throws LunarError `ERR_BAD_SIZE`, `ERR_WOULD_LOSE_DATA` when chunks lie behind the new end */
  async resize(store: Lun, size: number, options: { readonly dryRun: boolean }): Promise<void> {
    const { dryRun } = options
    // Whether something lies behind a new end is known by its slots.
    const resize = (): Promise<void> => this.luns.resizeStore(store, size, { force: true, dryRun })
    if (size < store.size) await this.slots(store).shrinking(Math.floor(size / MIB), dryRun, resize)
    else await resize()
  }

  /** @throws LunarError `ERR_HAS_SNAPSHOTS` while a tree keeps chunks there */
  async delete(store: Lun, options: { readonly dryRun: boolean }): Promise<void> {
    const users = this.treesOf(store).flatMap(({ snapshots }) => snapshots.map(({ name }) => name))
    if (this.treesOf(store).length > 0)
      throw new LunarError('ERR_HAS_SNAPSHOTS', `Cannot delete store "${store.name}"`, {
        why: `it holds chunks of ${users.join(', ')}`,
        fix: `lunar snap delete ${users.join(' ')}`,
        blockers: users,
      })
    if (options.dryRun) return
    await this.luns.deleteStore(store)
    this.opened.delete(store.number)
  }
}

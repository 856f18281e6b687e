import { invariant } from '../base/errors.ts'
import type { Batch } from '../../metadata/batch.ts'
import { keyOf } from '../../metadata/key.ts'
import type { Metadata } from '../../metadata/metadata.ts'
import { raidName, raidTypes, RSD_STORES, RSD_VALUE, rsdFields, rsdMember } from '../../metadata/records.ts'
import { memberCount, type Redundancy } from '../raid/geometry.ts'

/** Stores in a page of the table: 2 GiB of addresses when filled in order. */
const PAGE_STORES = 256
const HEAD_WORDS = 3
/** A member word: disk slot in the high 10 bits, segment in the low 22 (hazard 49: 4 bytes a member). */
const SEGMENT_BITS = 22
const SEGMENT_MASK = 2 ** SEGMENT_BITS - 1

export interface Member {
  readonly disk: number
  readonly segment: number
}

/** Members as text, to tell whether they were moved. */
export const placesOf = (members: readonly Member[]): string => members.map(({ disk, segment }) => `${disk}.${segment}`).join()

/**
 * Disk slots of a pool: a member word has 22 bits for the segment, so a disk of more than 8 TiB takes several slots.
 */
export class DiskSlots {
  private readonly slots: { disk: number; base: number }[] = []
  private readonly first = new Map<number, number>()

  add(disk: number, segments: number): void {
    if (this.first.has(disk)) return
    this.first.set(disk, this.slots.length)
    for (let base = 0; base === 0 || base < segments; base += SEGMENT_MASK + 1) this.slots.push({ disk, base })
    invariant(this.slots.length <= 1024, 'more than 1024 disk slots')
  }

  pack(disk: number, segment: number): number {
    const slot = this.first.get(disk)! + Math.floor(segment / (SEGMENT_MASK + 1))
    return ((slot << SEGMENT_BITS) | (segment & SEGMENT_MASK)) >>> 0
  }

  diskOf(word: number): number {
    return this.slots[word >>> SEGMENT_BITS]!.disk
  }

  segmentOf(word: number): number {
    return this.slots[word >>> SEGMENT_BITS]!.base + (word & SEGMENT_MASK)
  }
}

/**
 * The redundant store descriptors (RSD) of a LUN as typed arrays, loaded by page. A store takes 12 bytes and 4 a member of the LUN's
 * largest type: word 0 bound mask, dirty mask, redundancy type (0: no store); word 1 home; word 2 generation; then the members.
 */
export class StoreTable {
  private readonly pages = new Map<number, Uint32Array>()
  private readonly stride: number
  private readonly members: number

  constructor(
    readonly lun: number,
    /** Every redundancy type that a store of the LUN may have. */
    raids: readonly Redundancy[],
    private readonly metadata: Metadata,
    private readonly slots: DiskSlots,
    /** Told of every page that was loaded, so that the memory of maps stays under its budget. */
    private readonly onLoad: () => void,
  ) {
    this.members = Math.max(...raids.map(memberCount))
    this.stride = HEAD_WORDS + this.members
  }

  raid(store: number): Redundancy {
    return raidName(this.word(store, 0) >>> 16)
  }
  /** 0 when the store is gone. */
  memberCount(store: number): number {
    return this.exists(store) ? memberCount(this.raid(store)) : 0
  }

  get loadedBytes(): number {
    return this.pages.size * PAGE_STORES * this.stride * 4
  }

  isLoaded(store: number): boolean {
    return this.pages.has(Math.floor(store / PAGE_STORES))
  }

  async load(store: number): Promise<void> {
    const number = Math.floor(store / PAGE_STORES)
    if (this.pages.has(number)) return
    const page = new Uint32Array(PAGE_STORES * this.stride)
    const from = (number * PAGE_STORES) / RSD_STORES
    for await (const { lo, value } of this.metadata.range(keyOf('rsd', this.lun).hi, from, from + PAGE_STORES / RSD_STORES - 1)) {
      for (let i = 0; i < RSD_STORES; i++) {
        const rsd = rsdFields.decode(value, i * rsdFields.size)
        if (rsd.raid === 0) continue
        const base = ((lo * RSD_STORES + i) % PAGE_STORES) * this.stride
        page[base] = rsd.bound | (rsd.dirty << 8) | (rsd.raid << 16)
        page[base + 1] = rsd.home
        page[base + 2] = rsd.generation
        invariant(rsd.memberCount <= this.members, `store ${lo * RSD_STORES + i} of LUN ${this.lun} has ${rsd.memberCount} members`)
        for (let m = 0; m < rsd.memberCount; m++) page[base + HEAD_WORDS + m] = this.slots.pack(rsd.members[m]!.disk, rsd.members[m]!.segment)
      }
    }
    // Another load of the page may have finished, and been changed, while this one waited.
    if (this.pages.has(number)) return
    this.pages.set(number, page)
    this.onLoad()
  }

  forgetPages(): void {
    this.pages.clear()
  }

  exists(store: number): boolean {
    return this.isLoaded(store) && this.word(store, 0) >>> 16 !== 0
  }
  boundMask(store: number): number {
    return this.word(store, 0) & 255
  }
  dirtyMask(store: number): number {
    return (this.word(store, 0) >>> 8) & 255
  }
  generation(store: number): number {
    return this.word(store, 2)
  }
  home(store: number): number {
    return this.word(store, 1)
  }
  diskOf(store: number, member: number): number {
    return this.slots.diskOf(this.word(store, HEAD_WORDS + member))
  }
  segmentOf(store: number, member: number): number {
    return this.slots.segmentOf(this.word(store, HEAD_WORDS + member))
  }
  membersOf(store: number): Member[] {
    return Array.from({ length: this.memberCount(store) }, (_, m) => ({ disk: this.diskOf(store, m), segment: this.segmentOf(store, m) }))
  }

  /** Puts a new store into the table and the batch. */
  add(store: number, made: { raid: Redundancy; home: number; generation: number; members: readonly Member[] }, bound: number, batch: Batch): void {
    const page = this.page(store)
    const base = (store % PAGE_STORES) * this.stride
    page[base] = bound | (raidTypes[made.raid] << 16)
    page[base + 1] = made.home
    page[base + 2] = made.generation
    made.members.forEach((member, m) => {
      page[base + HEAD_WORDS + m] = this.slots.pack(member.disk, member.segment)
    })
    this.patch(store, batch)
  }

  setMasks(store: number, bound: number, dirty: number, batch: Batch): void {
    const page = this.page(store)
    page[(store % PAGE_STORES) * this.stride] = bound | (dirty << 8) | (raidTypes[this.raid(store)] << 16)
    batch.patch(keyOf('rsd', this.lun, Math.floor(store / RSD_STORES)), (store % RSD_STORES) * rsdFields.size + 2, Uint8Array.of(bound, dirty), RSD_VALUE)
  }

  /** A member lies elsewhere from now on. Nothing else of the store is put into the batch. */
  setMember(store: number, member: number, place: Member, batch: Batch): void {
    this.page(store)[(store % PAGE_STORES) * this.stride + HEAD_WORDS + member] = this.slots.pack(place.disk, place.segment)
    const at = (store % RSD_STORES) * rsdFields.size + rsdFields.fields.members.offset + member * rsdMember.size
    batch.patch(keyOf('rsd', this.lun, Math.floor(store / RSD_STORES)), at, rsdMember.encode(place), RSD_VALUE)
  }

  remove(store: number, batch: Batch): void {
    const page = this.page(store)
    const base = (store % PAGE_STORES) * this.stride
    page.fill(0, base, base + this.stride)
    const first = store - (store % RSD_STORES)
    const others = [0, 1, 2, 3].some(i => this.exists(first + i))
    const key = keyOf('rsd', this.lun, Math.floor(store / RSD_STORES))
    if (others) batch.patch(key, (store % RSD_STORES) * rsdFields.size, new Uint8Array(rsdFields.size), RSD_VALUE)
    else batch.delete(key)
  }

  private patch(store: number, batch: Batch): void {
    const rsd = rsdFields.encode({
      raid: raidTypes[this.raid(store)],
      memberCount: this.memberCount(store),
      bound: this.boundMask(store),
      dirty: this.dirtyMask(store),
      home: this.home(store),
      generation: this.word(store, 2),
      checksums: 0,
      members: this.membersOf(store),
    })
    batch.patch(keyOf('rsd', this.lun, Math.floor(store / RSD_STORES)), (store % RSD_STORES) * rsdFields.size, rsd, RSD_VALUE)
  }

  private page(store: number): Uint32Array {
    const page = this.pages.get(Math.floor(store / PAGE_STORES))
    invariant(page, `store ${store} is used before its page is loaded`)
    return page
  }

  private word(store: number, word: number): number {
    return this.page(store)[(store % PAGE_STORES) * this.stride + word]!
  }
}

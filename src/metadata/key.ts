/**
 * Keys of the metadata map: two whole numbers below 2^53, ordered by `hi`, then `lo`. `hi` is the kind times 2^32 plus
 * the number of the object the record belongs to; `lo` is an index inside of the object.
 */
export interface Key {
  readonly hi: number
  readonly lo: number
}

/** The kinds of records. Numbers are on disk: never reuse one. */
export const kinds = {
  pool: 1,
  disk: 2,
  lun: 3,
  lmap: 4,
  rsd: 5,
  segments: 6,
  open: 7,
  stale: 8,
  process: 9,
  event: 10,
  relationship: 11,
  chunks: 12,
  wod: 13,
  wodBlocks: 14,
  snapshot: 15,
  tree: 16,
  treeMap: 17,
  leafMap: 18,
  slots: 19,
  wodDone: 20,
  host: 24,
  presentation: 25,
  schedule: 26,
  history: 40,
} as const
export type Kind = keyof typeof kinds

const KIND_UNIT = 0x1_0000_0000

export const hiOf = (kind: Kind, object = 0): number => kinds[kind] * KIND_UNIT + object
export const keyOf = (kind: Kind, object = 0, index = 0): Key => ({ hi: hiOf(kind, object), lo: index })
export const kindNumber = (hi: number): number => Math.floor(hi / KIND_UNIT)
export const objectOf = (hi: number): number => hi % KIND_UNIT

const names = new Map<number, Kind>(Object.entries(kinds).map(([name, number]) => [number, name as Kind]))
export const kindOf = (hi: number): Kind | undefined => names.get(kindNumber(hi))

export const compareKeys = (aHi: number, aLo: number, bHi: number, bLo: number): number => (aHi !== bHi ? aHi - bHi : aLo - bLo)

export type RelationshipState = 'disabled' | 'enabled' | 'updating' | 'mixed' | 'invalid'
export type ProcessName = 'completeImage' | 'imageUpdate' | 'sourceUpdate'
/** Milliseconds between steps, or a pace that follows the load. */
export type Delay = number | 'adaptive'

/** What every answer about a relationship carries (tables.md: R). */
export interface RelationshipView {
  readonly number: number
  readonly name: string | null
  readonly source: string
  readonly image: string
  readonly state: RelationshipState
  /** The process that runs now. */
  readonly process: ProcessName | null
}

export interface RelationshipSummary extends RelationshipView {
  readonly chunkBytes: number
  /** Rounded down; 100 only when the image owns every chunk. */
  readonly completePercent: number
  readonly differentPercent: number
  /** The instant the image is of. */
  readonly asOf: string | null
  /** What a disabled one costs: `recording` changes of its volumes waits for a map bit on a first write. */
  readonly cost: 'none' | 'recording' | 'preserving'
  /** The image has fewer copies of its data than the source. */
  readonly lessRedundant: boolean
}

export interface ByteRange {
  readonly offset: number
  readonly length: number
}

export interface RelationshipConfig extends RelationshipView {
  readonly chunkBytes: number
  readonly blockBytes: number
  readonly delaysMs: { readonly completeImage: Delay; readonly imageUpdate: Delay; readonly sourceUpdate: Delay }
  /** Where preserved chunks go: the image itself, at the same addresses. */
  readonly store: string
  /** What happens when the image has no room for a chunk. */
  readonly policy: 'fail-writes' | 'drop'
  readonly created: string
}

export interface RelationshipStatus extends RelationshipView {
  readonly chunks: { readonly total: number; readonly migrated: number; readonly different: number; readonly frozen: number; readonly lost: number }
  readonly differentPercent: number
  readonly completePercent: number
  readonly asOf: string | null
  readonly enabledAt: string | null
  readonly progress: {
    readonly kind: ProcessName
    readonly task: number
    /** Bytes. */
    readonly done: number
    readonly total: number
    /** Bytes a second. */
    readonly rate: number
    /** Seconds, or null when it cannot be told. */
    readonly eta: number | null
    readonly delayMs: Delay
  } | null
  /** Ranges of the image that were lost while it was disabled. */
  readonly lost: ByteRange[]
  readonly reason: string | null
}

/** Two bitmaps of one instant, base64; bit i is byte i >> 3, low bit first. */
export interface RelationshipMaps extends RelationshipView {
  readonly chunks: number
  readonly chunkBlocks: number
  readonly chunkBytes: number
  readonly migrated: string
  readonly delta: string
  readonly generation: number
}

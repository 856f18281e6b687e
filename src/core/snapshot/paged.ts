import type { ChunkRun } from './chunks.ts'

/** What is said of chunks in pages, which come into memory when they are needed and may be let go when nobody has a chunk locked. */
export interface Paged {
  /** Undefined when every page of the run is in memory already. */
  load(run: ChunkRun): Promise<void> | undefined
}

/** Calls `use` in the turn in which every page of the run is in memory; whoever has none of its chunks locked knows nothing of later turns. */
export async function whenLoaded<T>(pages: Paged, run: ChunkRun, use: () => T): Promise<T> {
  for (let loading = pages.load(run); loading; loading = pages.load(run)) await loading
  return use()
}

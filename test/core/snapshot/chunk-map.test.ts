import { expect, test } from 'vitest'
import { Random } from '../../../src/core/base/random.ts'
import { ChunkMap } from '../../../src/core/snapshot/chunk-map.ts'
import { Batch, MERGE } from '../../../src/metadata/batch.ts'
import type { Metadata } from '../../../src/metadata/metadata.ts'
import { CHUNKS_PER_RECORD } from '../../../src/metadata/records.ts'
import { Tree } from '../../../src/metadata/tree.ts'

const nothing = { get: () => Promise.resolve(undefined) } as unknown as Metadata

/** The chunks that a batch sets, as whoever opens the pool would find them. */
async function recorded(batch: Batch): Promise<number[]> {
  const tree = new Tree(() => Promise.reject(new Error('nothing is on disk')), undefined)
  tree.apply(batch)
  const chunks: number[] = []
  for await (const { lo, value } of tree.range({ hi: 0, lo: 0 }, { hi: Number.MAX_SAFE_INTEGER, lo: 0 })) {
    value.forEach((byte, i) => {
      for (let bit = 0; bit < 8; bit++) if ((byte & (1 << bit)) !== 0) chunks.push(lo * CHUNKS_PER_RECORD + i * 8 + bit)
    })
  }
  return chunks
}

test('what a batch records is the chunks of the runs, in any order', async () => {
  const random = new Random(3)
  const base = (await recorded(bitsOf([{ from: 0, to: 1 }])))[0]!
  for (let i = 0; i < 50; i++) {
    const runs = Array.from({ length: 12 }, () => {
      const from = random.below(3 * CHUNKS_PER_RECORD)
      return { from, to: from + random.between(1, random.chance(0.2) ? 100 : 4) }
    })
    if (random.chance(0.5)) runs.sort((a, b) => a.from - b.from)
    const wanted = new Set(runs.flatMap(({ from, to }) => Array.from({ length: to - from }, (_, k) => from + k)))
    expect((await recorded(bitsOf(runs))).map(chunk => chunk - base)).toEqual([...wanted].sort((a, b) => a - b))
  }
})

test('chunks of one byte that follow each other are one change', () => {
  const { ops } = bitsOf([
    { from: 8, to: 9 },
    { from: 10, to: 11 },
    { from: 15, to: 17 },
  ])
  expect(ops.map(op => (op.op === MERGE ? [op.at, ...op.value] : []))).toEqual([
    [1, 0b1000_0101, 0b1000_0101],
    [2, 1, 1],
  ])
})

function bitsOf(runs: readonly { from: number; to: number }[]): Batch {
  const batch = new Batch()
  new ChunkMap(nothing, 1, 1).put(runs, true, batch)
  return batch
}

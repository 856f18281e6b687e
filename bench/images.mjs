/** What the rows of relationships and of snapshots share: the pool, the pattern of writes, and the child that works on the pool. */
import { randomFillSync } from 'node:crypto'
import { closeSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { root } from '../scripts/setup.mjs'
import { peer, run } from './harness.mjs'

const MIB = 1024 * 1024
export const POOL = 'images'
export const WRITES = 20_000
export const DEPTH = 16
export const BLOCK = 4096
/**
 * Addresses follow each other at this distance, modulo the size, which is what `qemu-img bench` can do: an odd number of
 * blocks, so that in a LUN of a power of two no block comes twice before all did.
 */
export const STEP = 100_003 * BLOCK
/** How long the disk is left alone before each run, after everything dirty was written. Milliseconds. */
const REST = 500

/** Runs a task of engine.mjs. @returns what it printed */
export function engine(product, task, ...args) {
  return JSON.parse(
    run(process.execPath, [join(root, 'bench', 'engine.mjs'), task, POOL, ...args.map(String)], {
      cwd: product.folder,
      env: { ...product.env, UV_THREADPOOL_SIZE: '16' }, // as the launcher sets it
    }),
  )
}

export function makeRandomFile(path, mebibytes) {
  const block = Buffer.alloc(MIB)
  const fd = openSync(path, 'wx')
  for (let i = 0; i < mebibytes; i++) writeSync(fd, randomFillSync(block))
  closeSync(fd)
}

/** Everything dirty is written, and the disk left alone for a while. */
export async function settle(folder) {
  run(peer('sync'), ['-f', folder])
  await pause(REST)
}

/**
 * Random 4 KiB writes into a LUN from inside of its owner, and a flush: node random-writer.mjs POOL LUN COUNT DEPTH. Prints the milliseconds
 * they took, without the start of the process and the opening of the pool.
 */
import { randomFillSync } from 'node:crypto'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { root } from '../scripts/setup.mjs'

const BLOCK = 4096
const [name, lun, countText, depthText] = process.argv.slice(2)
const count = Number(countText)

const { openPool } = await import(pathToFileURL(join(root, 'dist', 'index.js')).href)
const pool = await openPool(name)
try {
  const device = await pool.luns.open(lun)
  try {
    const data = Array.from({ length: 64 }, () => randomFillSync(Buffer.alloc(BLOCK)))
    const blocks = randomFillSync(new Uint32Array(count)).map(word => word % (device.size / BLOCK))
    let next = 0
    const writer = async () => {
      while (next < count) {
        const i = next++
        await device.write(blocks[i] * BLOCK, data[i % data.length])
      }
    }
    const begun = performance.now()
    await Promise.all(Array.from({ length: Number(depthText) }, writer))
    await device.flush()
    console.log(performance.now() - begun)
  } finally {
    await device.close()
  }
} finally {
  await pool.close()
}

/**
 * Takes a disk back from inside of its pool's owner, until it has all that it missed: node resync-runner.mjs POOL DISK. Prints the milliseconds that
 * took, without the start of the process and the opening of the pool.
 */
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { root } from '../scripts/setup.mjs'

const [name, disk] = process.argv.slice(2)

const { openPool } = await import(pathToFileURL(join(root, 'dist', 'index.js')).href)
const pool = await openPool(name)
try {
  const begun = performance.now()
  const { task } = await pool.disks.online(disk)
  if (task === null) throw new Error('the disk has missed nothing')
  await pool.tasks.wait(task)
  console.log(performance.now() - begun)
} finally {
  await pool.close()
}

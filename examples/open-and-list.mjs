/** Opens a pool and says what is in it: node open-and-list.mjs POOL */
import { LunarError, openPool } from 'lunar'

const [name] = process.argv.slice(2)

try {
  // A view reads metadata beside any owner: nothing is locked, nothing changes.
  const pool = await openPool(name, { mode: 'view', onWarning: warning => console.error(`warning: ${warning}`) })
  try {
    const { health, disks, messages } = await pool.status()
    console.log(`pool ${pool.name}: ${health}, ${disks.length} disks`)
    for (const message of messages) console.log(`  ${message}`)
    for (const lun of await pool.luns.list()) console.log(`LUN ${lun.name}: ${lun.size} bytes, ${lun.bound} bound, ${lun.raid}`)
    for (const { number, source, image, state } of await pool.relationships.list()) console.log(`DcsSnap${number}: ${image} of ${source}, ${state}`)
  } finally {
    await pool.close() // `await using pool = …` does it where the language has that: Node 24, TypeScript
  }
} catch (error) {
  if (!(error instanceof LunarError)) throw error
  console.error(`${error.message} [${error.code}]\n  why: ${error.why}\n  fix: ${error.fix}`)
  process.exitCode = error.exitCode
}

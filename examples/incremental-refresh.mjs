/**
 * Keeps a complete copy of a LUN, and brings it up to date with what has changed: node incremental-refresh.mjs POOL SOURCE
 *
 * The first run copies everything, later ones only the chunks that were written since.
 */
import { openPool } from 'lunar'

const [name, source = 'db'] = process.argv.slice(2)

const pool = await openPool(name)
try {
  const copy = `${source}-copy`
  const existing = (await pool.relationships.list()).find(({ image }) => image === copy)
  if (!existing) {
    const { size, raid } = await pool.luns.show(source)
    await pool.luns.create({ name: copy, size, raid })
    await pool.relationships.configure({ source, image: copy, name: copy, chunkBytes: 64 * 1024 })
  }
  const relationship = pool.relationship(copy)
  await relationship.enable()
  const { chunks, completePercent } = await relationship.status()
  if (completePercent < 100) {
    await relationship.setDelay('completeImage', 0)
    await relationship.start('completeImage', { wait: true })
    console.log(`copied ${chunks.total - chunks.migrated} chunks`)
  }
  const { delta } = await relationship.maps()
  let changed = 0
  for (const byte of delta) for (let rest = byte; rest !== 0; rest &= rest - 1) changed++
  await relationship.start('imageUpdate', { wait: true })
  console.log(`refreshed ${changed} chunks; ${copy} is as of ${(await relationship.status()).asOf}`)
} finally {
  await pool.close()
}

/**
 * Tests on yesterday's data while production goes on: node time-shifted-test.mjs POOL SOURCE
 *
 * The image SOURCE-test is of the instant at which it was enabled; only what changes is copied. The test writes into it
 * as it likes. The next run begins with a new instant.
 */
import { openPool } from 'lunar'

const [name, source = 'db'] = process.argv.slice(2)
const BLOCK = 4096

const pool = await openPool(name)
try {
  const image = `${source}-test`
  const luns = await pool.luns.list()
  if (!luns.some(lun => lun.name === image)) {
    const { size, raid } = await pool.luns.show(source)
    await pool.luns.create({ name: image, size, raid })
    await pool.relationships.configure({ source, image, name: image })
  }
  const relationship = pool.relationship(image)
  const { asOf } = await relationship.enable({ fresh: true })
  console.log(`${image} is ${source} as of ${asOf}`)

  const production = await pool.luns.open(source)
  const test = await pool.luns.open(image)
  try {
    const before = await test.readBytes(0, BLOCK)
    await production.write(0, new Uint8Array(BLOCK).fill(before[0] ^ 0xff)) // production goes on
    await production.flush()
    const unchanged = Buffer.compare(await test.readBytes(0, BLOCK), before) === 0
    console.log(`production wrote, the image ${unchanged ? 'did not change' : 'CHANGED'}`)

    const seen = await production.readBytes(BLOCK, BLOCK)
    await test.write(BLOCK, new Uint8Array(BLOCK).fill(seen[0] ^ 0xff)) // the test writes
    await test.flush()
    const untouched = Buffer.compare(await production.readBytes(BLOCK, BLOCK), seen) === 0
    console.log(`the test wrote, production ${untouched ? 'did not change' : 'CHANGED'}`)
    if (!unchanged || !untouched) process.exitCode = 1
  } finally {
    await test.close()
    await production.close()
  }
  const { chunks } = await relationship.status()
  console.log(`${chunks.migrated} of ${chunks.total} chunks were copied`)
} finally {
  await pool.close()
}

/**
 * Child of the relationship rows: works on an open pool through the library, and prints what it timed as JSON. A process of its
 * own, because the size of the thread pool counts from the start of a process: node bench/engine.mjs TASK POOL ARGUMENTS
 */
import { randomFillSync } from 'node:crypto'
import { openPool } from '../dist/index.js'

const MIB = 1024 * 1024
const [task, name, ...args] = process.argv.slice(2)

/** Writes a range with bytes that do not compress, and flushes. */
async function fill(device, mebibytes) {
  const block = randomFillSync(new Uint8Array(MIB))
  for (let i = 0; i < mebibytes; i++) await device.write(i * MIB, block)
  await device.flush()
}

async function timed(act) {
  const begun = performance.now()
  await act()
  return performance.now() - begun
}

const create = (pool, lun, size) => pool.luns.create({ name: lun, size, raid: 'raid0' })

async function configured(pool, source, image, chunkBytes, reference = image) {
  await pool.relationships.configure({ source, image, name: reference, ...(chunkBytes ? { chunkBytes } : {}) })
  return pool.relationship(reference)
}

const tasks = {
  /**
   * 4 KiB writes at `step` bytes from each other, modulo the size, 16 in flight, the flush at the end included; into a LUN
   * that is written whole, with an image or without (chunk 0).
   */
  async writes(pool, mebibytes, count, step, depth, chunk) {
    const size = mebibytes * MIB
    await create(pool, 'data', size)
    const device = await pool.luns.open('data')
    await fill(device, mebibytes)
    if (chunk > 0) {
      await create(pool, 'image', size)
      await (await configured(pool, 'data', 'image', chunk)).enable()
    }
    const block = new Uint8Array(4096).fill(7)
    let next = 0
    const lane = async () => {
      while (next < count) await device.write((next++ * step) % size, block)
    }
    return {
      ms: await timed(async () => {
        await Promise.all(Array.from({ length: depth }, lane))
        await device.flush()
      }),
    }
  },

  /**
   * The same writes twice, with snapshots of the LUN and an image (chunk 0: none). Between them everything is written out, so that the second
   * time nothing is preserved any more.
   */
  async snapshotWrites(pool, mebibytes, count, step, depth, snapshots, chunk) {
    const size = mebibytes * MIB
    await create(pool, 'data', size)
    const device = await pool.luns.open('data')
    await fill(device, mebibytes)
    if (chunk > 0) {
      await create(pool, 'image', size)
      await (await configured(pool, 'data', 'image', chunk)).enable()
    }
    for (let i = 0; i < snapshots; i++) await pool.snapshots.create(`data@s${i}`, { readOnly: true })
    const block = new Uint8Array(4096).fill(7)
    const pass = () => {
      let next = 0
      const lane = async () => {
        while (next < count) await device.write((next++ * step) % size, block)
      }
      return timed(async () => {
        await Promise.all(Array.from({ length: depth }, lane))
        await device.flush()
      })
    }
    const first = await pass()
    return { first, second: await pass() }
  },

  /** A clone of a LUN that is written whole, until it is one of its own. */
  async clone(pool, mebibytes) {
    await create(pool, 'data', mebibytes * MIB)
    const device = await pool.luns.open('data')
    await fill(device, mebibytes)
    await device.close()
    return {
      ms: await timed(async () => {
        const { task } = await pool.snapshots.clone('data', 'copy')
        if (task !== null) await pool.tasks.wait(task)
      }),
    }
  },

  /** Complete image, then updates of all of it in both directions, without pauses. */
  async copies(pool, mebibytes) {
    const size = mebibytes * MIB
    await create(pool, 'data', size)
    await create(pool, 'image', size)
    const source = await pool.luns.open('data')
    await fill(source, mebibytes)
    const relationship = await configured(pool, 'data', 'image')
    await relationship.enable()
    for (const kind of ['completeImage', 'imageUpdate', 'sourceUpdate']) await relationship.setDelay(kind, 0)
    const run = async kind => timed(() => relationship.start(kind, { wait: true }))
    const completeImage = await run('completeImage')
    await fill(source, mebibytes)
    await source.close()
    const imageUpdate = await run('imageUpdate')
    const image = await pool.luns.open('image')
    await fill(image, mebibytes)
    await image.close()
    const sourceUpdate = await run('sourceUpdate')
    return { completeImage, imageUpdate, sourceUpdate }
  },

  /** The verbs on LUNs of the given sizes in turn; milliseconds of each call, by verb and size. */
  async verbs(pool, times, ...sizes) {
    const pairs = []
    for (const size of sizes) {
      await create(pool, `s${size}`, size)
      await create(pool, `i${size}`, size)
      pairs.push({ size, relationship: await configured(pool, `s${size}`, `i${size}`) })
    }
    const samples = {}
    for (let i = 0; i <= times; i++) {
      for (const { size, relationship } of pairs) {
        const note = async (verb, act) => {
          const ms = await timed(act)
          if (i > 0) ((samples[verb] ??= {})[size] ??= []).push(ms) // the first turn loads code
        }
        await note('enable', () => relationship.enable({ fresh: true }))
        await relationship.setDelay('completeImage', 1000)
        await note('start', () => relationship.start('completeImage'))
        await note('stop', () => relationship.stop('completeImage'))
        await note('disable', () => relationship.disable())
      }
    }
    return samples
  },

  /**
   * Creates and deletes a snapshot `times` times in turn: of LUNs of the given sizes, each with a snapshot that one percent of the chunks is preserved for,
   * then of a LUN with one snapshot and of one with `many`. What was deleted is given back between the calls. Milliseconds of each call, by verb and place.
   */
  async snapshots(pool, times, many, ...sizes) {
    const places = []
    for (const size of sizes) {
      await create(pool, `s${size}`, size)
      await pool.snapshots.create(`s${size}@kept`, { readOnly: true, chunkBytes: 65_536 })
      // Chunks of zeros: entries of the map as any others, without 20 GiB of bytes.
      await pool.luns.zero(`s${size}`, { offset: 0, length: Math.ceil(size / 100 / 65_536) * 65_536 })
      places.push({ place: `size ${size}`, lun: `s${size}` })
    }
    for (const count of [1, many]) {
      await create(pool, `n${count}`, MIB)
      for (let i = 0; i < count; i++) await pool.snapshots.create(`n${count}@kept${i}`, { readOnly: true })
      places.push({ place: `count ${count}`, lun: `n${count}` })
    }
    const samples = {}
    for (let i = 0; i <= times; i++) {
      for (const { place, lun } of places) {
        const note = async (verb, act) => {
          const ms = await timed(act)
          if (i > 0) ((samples[verb] ??= {})[place] ??= []).push(ms)
        }
        await note('snap create', () => pool.snapshots.create(`${lun}@now`, { readOnly: true }))
        let task = null
        await note('snap delete', async () => ({ task } = await pool.snapshots.delete(`${lun}@now`)))
        if (task !== null) await pool.tasks.wait(task)
      }
    }
    return samples
  },
}

const pool = await openPool(name)
try {
  process.stdout.write(JSON.stringify(await tasks[task](pool, ...args.map(Number))))
} finally {
  await pool.close()
}

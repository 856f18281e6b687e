/** Relationships: first writes, copying processes, and verbs on small and large LUNs. */
import { copyFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { brokenRow, growthRow, peer, run, speedRow, takeTurns } from './harness.mjs'
import { BLOCK, DEPTH, engine, makeRandomFile, POOL, settle, STEP, WRITES } from './images.mjs'
import { Product } from './product.mjs'

const MIB = 1024 * 1024
const LUN_MIB = 1024
const CHUNKS = [4096, 32_768]
/** Calls of each verb. */
const VERB_CALLS = 50
const SIZES = [MIB, 2 ** 41]
/** Snapshots of a LUN that has many. */
const SNAPSHOTS = 1000
/** How much longer a verb may take on the largest LUN than on the smallest. */
const GROWTH_MAX = 1.5

const chunkName = bytes => `${bytes / 1024} KiB chunks`

/** The same writes into a qcow2 with a snapshot, into a LUN with an image, and into one without. */
async function firstWriteRows(product, folder, { rounds, report }) {
  const raw = join(folder, 'first.raw')
  const clean = join(folder, 'clean.qcow2')
  const image = join(folder, 'first.qcow2')
  peer('qemu-img')
  report(`making a qcow2 of ${LUN_MIB} MiB`)
  makeRandomFile(raw, LUN_MIB)
  run(peer('qemu-img'), ['convert', '-f', 'raw', '-O', 'qcow2', raw, clean])
  rmSync(raw)
  const writes = (name, chunk) => ({
    name,
    before: async () => {
      product.freshPool(POOL, 4, `${LUN_MIB / 2 + 256}MiB`)
      await settle(folder)
    },
    run: () => engine(product, 'writes', LUN_MIB, WRITES, STEP, DEPTH, chunk).ms,
  })
  const contestants = [
    writes('no relationship', 0),
    ...CHUNKS.map(chunk => writes(chunkName(chunk), chunk)),
    {
      name: 'qemu-img bench',
      before: async () => {
        copyFileSync(clean, image)
        run(peer('qemu-img'), ['snapshot', '-c', 'before', image])
        await settle(folder)
      },
      // It flushes when it closes the image.
      run: () => {
        const options = ['-t', 'writeback', '-d', `${DEPTH}`, '-c', `${WRITES}`, '-s', `${BLOCK}`, '-S', `${STEP}`]
        run(peer('qemu-img'), ['bench', '-w', '-f', 'qcow2', ...options, image])
      },
      after: () => rmSync(image),
    },
  ]
  try {
    const samples = await takeTurns(contestants, rounds, line => report(`first writes, ${line}`))
    return CHUNKS.flatMap(chunk => {
      const name = chunkName(chunk)
      const all = Object.fromEntries(samples)
      return [
        { ...speedRow(`first writes, ${name}`, samples, name, ['no relationship'], 0.4), samples: all },
        { ...speedRow(`the same beside qcow2, ${name}`, samples, name, ['qemu-img bench'], 1), samples: all },
      ]
    })
  } finally {
    rmSync(clean, { force: true })
  }
}

/** Everything copied by each of the processes, and by `dd`. */
async function copyRows(product, folder, { rounds, mebibytes: most, report }) {
  const mebibytes = Math.min(most, LUN_MIB)
  const kinds = { completeImage: 'complete image', imageUpdate: 'image update', sourceUpdate: 'source update' }
  const source = join(folder, 'copied.raw')
  const target = join(folder, 'copy.raw')
  makeRandomFile(source, mebibytes)
  const samples = new Map(Object.values(kinds).map(name => [name, []]))
  const contestants = [
    {
      name: 'dd',
      before: () => settle(folder),
      run: () => void run(peer('dd'), [`if=${source}`, `of=${target}`, 'bs=1M', 'conv=fdatasync']),
      after: () => rmSync(target),
    },
    {
      name: 'processes',
      before: async () => {
        product.freshPool(POOL, 4, `${Math.ceil(mebibytes / 2) + 256}MiB`)
        await settle(folder)
      },
      run: () => {
        const times = engine(product, 'copies', mebibytes)
        for (const [kind, name] of Object.entries(kinds)) samples.get(name).push(times[kind])
      },
    },
  ]
  try {
    const turns = await takeTurns(contestants, rounds, line => report(`copying ${mebibytes} MiB, ${line}`))
    samples.set('dd', turns.get('dd'))
    return Object.values(kinds).map(name => ({ ...speedRow(name, samples, name, ['dd'], 0.7), samples: Object.fromEntries(samples) }))
  } finally {
    rmSync(source)
  }
}

function verbRows(product, folder, { report }) {
  report(`${VERB_CALLS} calls of each verb on ${SIZES.length} sizes`)
  product.freshPool(POOL, 4, '256MiB')
  const verbs = engine(product, 'verbs', VERB_CALLS, ...SIZES)
  const [small, large] = SIZES
  return Object.entries(verbs).map(([verb, bySize]) => {
    const samples = new Map([
      ['1 MiB', bySize[small]],
      ['2 TiB', bySize[large]],
    ])
    return { ...growthRow(`${verb}, 2 TiB against 1 MiB`, samples, '2 TiB', '1 MiB', GROWTH_MAX), samples: Object.fromEntries(samples) }
  })
}

/** Taking and deleting a snapshot costs the same on any size, and however many there are. */
function snapshotRows(product, folder, { report }) {
  report(`${VERB_CALLS} snapshots on ${SIZES.length} sizes with 1 % preserved, and beside 1 and ${SNAPSHOTS}`)
  product.freshPool(POOL, 4, '1GiB')
  const [small, large] = SIZES
  const verbs = engine(product, 'snapshots', VERB_CALLS, SNAPSHOTS, ...SIZES)
  return Object.entries(verbs).flatMap(([verb, byPlace]) =>
    [
      { name: `${verb}, 2 TiB against 1 MiB, 1 % preserved`, one: ['2 TiB', byPlace[`size ${large}`]], other: ['1 MiB', byPlace[`size ${small}`]] },
      { name: `${verb}, beside ${SNAPSHOTS} against 1`, one: [String(SNAPSHOTS), byPlace[`count ${SNAPSHOTS}`]], other: ['1', byPlace['count 1']] },
    ].map(({ name, one, other }) => {
      const samples = new Map([one, other])
      return { ...growthRow(name, samples, one[0], other[0], GROWTH_MAX), samples: Object.fromEntries(samples) }
    }),
  )
}

/** A suite whose pool is gone when it ends, and whose failure is a row. */
const suite = measure => async (folder, options) => {
  const product = new Product(folder)
  try {
    const rows = await measure(product, folder, options)
    product.destroy(POOL)
    return rows
  } catch (error) {
    return [brokenRow('relationships', error)]
  }
}

export const relationshipSuites = [
  { name: 'first writes', rows: suite(firstWriteRows) },
  { name: 'complete image and updates', rows: suite(copyRows) },
  { name: 'relationship verbs', rows: suite(verbRows) },
  { name: 'snapshot verbs', rows: suite(snapshotRows) },
]

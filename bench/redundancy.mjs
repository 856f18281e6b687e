/** What redundancy costs: random writes against raid0 of the same run, and resync against `dd` of as many bytes. */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { root } from '../scripts/setup.mjs'
import { brokenRow, peer, run, speedRow, takeTurns } from './harness.mjs'
import { Product } from './product.mjs'
import { makeRandomFile } from './transfer.mjs'

const MIB = 1024 * 1024
const POOL = 'bench'
const DISKS = 5
const DEPTH = 16
/** Random writes for each MiB of the LUN, and what they go to at most. */
const WRITES_PER_MIB = 32
const RANDOM_MIB_MAX = 512
/** As in transfer.mjs. Milliseconds. */
const REST = 500

const writeGoals = { raid1: 0.6, raid5: 0.25 }
const resyncGoal = 0.7
const types = Object.keys(writeGoals)

const settle = async folder => {
  run(peer('sync'), ['-f', folder])
  await pause(REST)
}

/** Runs a script of this folder, which prints the milliseconds that it measured inside; with as many threads as the program's launcher gives itself. */
const inside = (product, folder, script, ...args) =>
  Number(run(process.execPath, [join(root, 'bench', script), ...args.map(String)], { cwd: folder, env: { ...product.env, UV_THREADPOOL_SIZE: '16' } }))

/** 4 KiB random writes at depth 16 into LUNs that are bound as a whole. */
async function randomWriteRows(product, folder, { rounds, mebibytes, report }) {
  const size = Math.min(mebibytes, RANDOM_MIB_MAX)
  const source = join(folder, 'random.raw')
  makeRandomFile(source, size)
  product.freshPool(POOL, DISKS, `${size + 256}MiB`)
  for (const raid of ['raid0', ...types]) {
    product.lunar('lun', 'create', `${POOL}/${raid}`, '--size', `${size}MiB`, '--raid', raid)
    product.lunar('lun', 'import', `${POOL}/${raid}`, source)
  }
  // All that is read and all that is written is in the page cache, for all of them.
  const cache = raid =>
    raid === 'raid0' ? product.lunar('lun', 'export', `${POOL}/${raid}`, source, '--force=overwrite') : product.lunar('rstore', 'verify', `${POOL}/${raid}`)
  const contestants = ['raid0', ...types].map(raid => ({
    name: raid,
    before: async () => {
      cache(raid)
      await settle(folder)
    },
    run: () => inside(product, folder, 'random-writer.mjs', POOL, raid, size * WRITES_PER_MIB, DEPTH),
  }))
  const samples = await takeTurns(contestants, rounds, line => report(`4 KiB random writes, ${line}`))
  rmSync(source)
  product.destroy(POOL)
  return types.map(raid => ({
    ...speedRow(`4 KiB random writes, depth ${DEPTH}, ${raid}`, samples, raid, ['raid0'], writeGoals[raid]),
    samples: Object.fromEntries(samples),
  }))
}

/** A disk that missed everything comes back: what it is given, against `dd` of as many bytes. */
async function resyncRow(product, folder, source, raid, { rounds, mebibytes, report }) {
  const lun = `${POOL}/data`
  const target = join(folder, 'target.raw')
  const ask = (...args) => JSON.parse(product.lunar(...args, '--json')).data
  product.freshPool(POOL, DISKS, `${mebibytes + 256}MiB`)
  product.lunar('lun', 'create', lun, '--size', `${mebibytes}MiB`, '--raid', raid)
  product.lunar('lun', 'import', lun, source)
  const [disk] = ask('rstore', 'list', lun)[0].disks
  const missAll = () => {
    product.lunar('disk', 'offline', String(disk), '--pool', POOL, '--force=redundancy')
    product.lunar('lun', 'import', lun, source, '--yes')
    return ask('disk', 'show', String(disk), '--pool', POOL).stale
  }
  const comeBack = () => inside(product, folder, 'resync-runner.mjs', POOL, disk)
  const bytes = missAll()
  comeBack()
  const samples = await takeTurns(
    [
      {
        name: 'dd',
        before: () => settle(folder),
        run: () => run(peer('dd'), [`if=${source}`, `of=${target}`, 'bs=1M', `count=${bytes}`, 'iflag=count_bytes', 'conv=fdatasync']),
        after: () => rmSync(target, { force: true }),
      },
      {
        name: 'resync',
        before: async () => {
          if (missAll() !== bytes) throw new Error('the disk did not miss the same bytes')
          // What the others have is in the page cache, as what dd reads is.
          product.lunar('lun', 'export', lun, target)
          rmSync(target)
          await settle(folder)
        },
        run: comeBack,
      },
    ],
    rounds,
    line => report(`resync ${raid}, ${line}`),
  )
  product.lunar('rstore', 'verify', lun) // fast and wrong does not count
  product.destroy(POOL)
  const row = speedRow(`resync ${raid}`, samples, 'resync', ['dd'], resyncGoal)
  return { ...row, shown: `${row.shown}, ${Math.round(bytes / MIB)} MiB`, samples: Object.fromEntries(samples) }
}

export async function redundancyRows(folder, options) {
  const product = new Product(folder)
  const source = join(folder, 'redundancy.raw')
  try {
    for (const program of ['dd', 'sync']) peer(program)
    options.report(`making ${options.mebibytes} MiB of random data`)
    makeRandomFile(source, options.mebibytes)
  } catch (error) {
    return [brokenRow('redundancy', error)]
  }
  const rows = []
  const measure = async (name, work) => {
    try {
      rows.push(...(await work()))
    } catch (error) {
      rows.push(brokenRow(name, error))
      product.destroy(POOL)
    }
  }
  await measure('4 KiB random writes', () => randomWriteRows(product, folder, options))
  for (const raid of types) await measure(`resync ${raid}`, async () => [await resyncRow(product, folder, source, raid, options)])
  rmSync(source, { force: true })
  return rows
}

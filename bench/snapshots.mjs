/** Snapshots: first writes and writes after them, beside other copies on write, and clones. */
import { mkdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { brokenRow, growthRow, peer, run, speedRow, takeTurns } from './harness.mjs'
import { BLOCK, DEPTH, engine, makeRandomFile, POOL, settle, STEP, WRITES } from './images.mjs'
import { Product } from './product.mjs'

const LUN_MIB = 1024
/** Snapshots of a LUN that has many. */
const STACKED = 100
/** What a pool has room for besides the LUN: copies of all that is written, and an image. */
const ROOM_MIB = 512

/**
 * The same writes, twice, into a LUN without anything, with one snapshot, with many, and with one and an image; and into a file of which XFS has a
 * reflink. The second time everything is preserved already.
 */
async function writeRows(product, folder, { rounds, mebibytes: most, report }) {
  const mebibytes = Math.min(most, LUN_MIB)
  const count = Math.min(WRITES, (mebibytes * 1024 * 1024) / BLOCK)
  const again = new Map()
  const writes = (name, snapshots, chunk) => ({
    name,
    before: async () => {
      product.freshPool(POOL, 4, `${mebibytes + ROOM_MIB}MiB`)
      await settle(folder)
    },
    run: () => {
      const { first, second } = engine(product, 'snapshotWrites', mebibytes, count, STEP, DEPTH, snapshots, chunk)
      again.set(name, [...(again.get(name) ?? []), second])
      return first
    },
  })
  const [none, one, many, both] = ['no snapshot', 'one snapshot', `${STACKED} snapshots`, 'one snapshot and an image']
  const xfs = new ReflinkedFile(folder, mebibytes)
  try {
    report(`making an XFS with a file of ${mebibytes} MiB`)
    xfs.make()
    const contestants = [
      writes(none, 0, 0),
      writes(one, 1, 0),
      writes(many, STACKED, 0),
      writes(both, 1, BLOCK),
      {
        name: 'XFS reflink',
        before: async () => {
          xfs.copy()
          await settle(folder)
        },
        // It flushes when it closes the file.
        run: () =>
          void run(peer('qemu-img'), [
            'bench',
            '-w',
            '-f',
            'raw',
            '-t',
            'writeback',
            '-d',
            `${DEPTH}`,
            '-c',
            `${count}`,
            '-s',
            `${BLOCK}`,
            '-S',
            `${STEP}`,
            xfs.path,
          ]),
      },
    ]
    const samples = await takeTurns(contestants, rounds, line => report(`first writes, ${line}`))
    const all = { samples: Object.fromEntries(samples) }
    return [
      { ...speedRow('first writes under one snapshot', samples, one, [none], 0.4), ...all },
      { ...speedRow('the same beside an XFS reflink', samples, one, ['XFS reflink'], 0.5), ...all },
      { ...speedRow(`first writes under ${STACKED} snapshots`, samples, many, [one], 0.95), ...all },
      { ...growthRow('a relationship beside the snapshot', samples, both, one, 1.2), ...all },
      { ...speedRow('overwriting what is preserved', again, one, [none], 0.95), samples: Object.fromEntries(again) },
    ]
  } finally {
    xfs.remove()
  }
}

/** A file on an XFS in a loop device, and a reflink that keeps what it held. */
class ReflinkedFile {
  constructor(folder, mebibytes) {
    this.mebibytes = mebibytes
    this.image = join(folder, 'xfs.img')
    this.mount = join(folder, 'xfs')
    this.path = join(this.mount, 'file')
    this.mounted = false
  }

  make() {
    writeFileSync(this.image, '')
    truncateSync(this.image, (this.mebibytes * 2 + ROOM_MIB) * 1024 * 1024)
    run(peer('mkfs.xfs'), ['-q', '-m', 'reflink=1', this.image])
    mkdirSync(this.mount)
    run(peer('mount'), ['-o', 'loop', this.image, this.mount])
    this.mounted = true
    makeRandomFile(this.path, this.mebibytes)
  }

  copy() {
    rmSync(`${this.path}.kept`, { force: true })
    run(peer('cp'), ['--reflink=always', this.path, `${this.path}.kept`])
    run(peer('sync'), ['-f', this.mount])
  }

  remove() {
    if (this.mounted) run(peer('umount'), [this.mount])
    rmSync(this.mount, { recursive: true, force: true })
    rmSync(this.image, { force: true })
  }
}

/** A clone to its end, without pauses, and `dd`. */
async function cloneRows(product, folder, { rounds, mebibytes: most, report }) {
  const mebibytes = Math.min(most, LUN_MIB)
  const source = join(folder, 'cloned.raw')
  const target = join(folder, 'clone.raw')
  makeRandomFile(source, mebibytes)
  try {
    const contestants = [
      {
        name: 'dd',
        before: () => settle(folder),
        run: () => void run(peer('dd'), [`if=${source}`, `of=${target}`, 'bs=1M', 'conv=fdatasync']),
        after: () => rmSync(target),
      },
      {
        name: 'clone',
        before: async () => {
          product.freshPool(POOL, 4, `${Math.ceil(mebibytes / 2) + ROOM_MIB}MiB`)
          await settle(folder)
        },
        run: () => engine(product, 'clone', mebibytes).ms,
      },
    ]
    const samples = await takeTurns(contestants, rounds, line => report(`cloning ${mebibytes} MiB, ${line}`))
    return [{ ...speedRow('clone', samples, 'clone', ['dd'], 0.7), samples: Object.fromEntries(samples) }]
  } finally {
    rmSync(source)
  }
}

/** A suite whose pool is gone when it ends, and whose failure is a row. */
const suite = (name, measure) => ({
  name,
  rows: async (folder, options) => {
    const product = new Product(folder)
    try {
      return await measure(product, folder, options)
    } catch (error) {
      return [brokenRow(name, error)]
    } finally {
      product.destroy(POOL)
    }
  },
})

export const snapshotSuites = [suite('snapshot writes', writeRows), suite('snapshot clone', cloneRows)]

/** `lun import` and `lun export` of random data against `qemu-img convert` raw to raw and `dd`. */
import { randomFillSync } from 'node:crypto'
import { closeSync, openSync, rmSync, writeSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { brokenRow, peer, run, speedRow, takeTurns } from './harness.mjs'
import { Product } from './product.mjs'

const MIB = 1024 * 1024
const POOL = 'bench'
const LUN = `${POOL}/data`
/** How long the disk is left alone before each run, after everything dirty was written. Milliseconds. */
const REST = 500

const types = [
  { raid: 'raid0', disks: 4, columns: 4, goals: { import: 0.9, export: 0.9 } },
  { raid: 'raid1', disks: 4, columns: 2, goals: { import: 0.5, export: 0.5 } },
  { raid: 'raid5', disks: 5, columns: 4, goals: { import: 0.5, export: 0.9 } },
]

export function makeRandomFile(path, mebibytes) {
  const block = Buffer.alloc(MIB)
  const fd = openSync(path, 'wx')
  for (let i = 0; i < mebibytes; i++) writeSync(fd, randomFillSync(block))
  closeSync(fd)
}

/** Brings a file into the page cache, where the source of the peers is too: they all read from memory. */
async function readAll(path) {
  const file = await open(path)
  const block = Buffer.alloc(MIB)
  while ((await file.read(block)).bytesRead > 0) continue
  await file.close()
}

/** @returns the contestants of one redundancy type */
function contestants(product, folder, source, { raid, disks, columns, mebibytes }) {
  const target = join(folder, 'target.raw')
  const copied = join(folder, 'copied.raw')
  const drop = () => rmSync(target, { force: true })
  const settle = async () => {
    run(peer('sync'), ['-f', folder])
    await pause(REST)
  }
  const emptyLun = () => {
    product.freshPool(POOL, disks, `${Math.ceil(mebibytes / columns) + 256}MiB`)
    product.lunar('lun', 'create', LUN, '--size', `${mebibytes}MiB`, '--raid', raid)
  }
  let filled = false
  const fill = () => {
    product.lunar('lun', 'import', LUN, source)
    filled = true
  }
  return [
    {
      // Its own default never flushes; writeback does, at the end.
      name: 'qemu-img',
      before: settle,
      run: () => run(peer('qemu-img'), ['convert', '-t', 'writeback', '-f', 'raw', '-O', 'raw', source, target]),
      after: drop,
    },
    { name: 'dd', before: settle, run: () => run(peer('dd'), [`if=${source}`, `of=${target}`, 'bs=1M', 'conv=fdatasync']), after: drop },
    {
      name: 'import',
      before: async () => {
        emptyLun()
        await settle()
      },
      run: fill,
    },
    {
      name: 'export',
      before: async () => {
        if (!filled) {
          emptyLun()
          fill()
        }
        for (const image of product.paths) await readAll(image)
        await settle()
      },
      run: () => product.lunar('lun', 'export', LUN, copied),
      after: () => {
        run('cmp', [source, copied]) // fast and wrong does not count
        rmSync(copied, { force: true })
      },
    },
  ]
}

export async function transferRows(folder, { rounds, mebibytes, report }) {
  const source = join(folder, 'source.raw')
  const product = new Product(folder)
  const rows = []
  const names = types.flatMap(({ raid }) => [`import ${raid}`, `export ${raid}`])
  try {
    for (const program of ['qemu-img', 'dd', 'sync']) peer(program)
    report(`making ${mebibytes} MiB of random data`)
    makeRandomFile(source, mebibytes)
    for (const { raid, disks, columns, goals } of types) {
      const samples = await takeTurns(contestants(product, folder, source, { raid, disks, columns, mebibytes }), rounds, line => report(`${raid}, ${line}`))
      for (const verb of ['import', 'export']) {
        rows.push({ ...speedRow(`${verb} ${raid}`, samples, verb, ['qemu-img', 'dd'], goals[verb]), samples: Object.fromEntries(samples) })
      }
    }
    product.destroy(POOL)
  } catch (error) {
    for (const name of names) if (!rows.some(row => row.name === name)) rows.push(brokenRow(name, error))
  }
  return rows
}

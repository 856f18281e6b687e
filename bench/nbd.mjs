/**
 * The NBD protocol alone: a plain file, served by Lunar's server without a pool, by `nbdkit file` and by `qemu-nbd`, with fio as
 * the client of each, on one connection and on four. Time is what fio takes for a number of requests, the flush at the end
 * of writes included.
 */
import { spawn } from 'node:child_process'
import { existsSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { build } from 'esbuild'
import { root } from '../scripts/setup.mjs'
import { brokenRow, peer, run, speedRow, takeTurns } from './harness.mjs'
import { makeRandomFile } from './transfer.mjs'

const SIZE_MIB_MAX = 1024
const GOAL = 1
const jobs = [
  { name: '4 KiB random read, depth 1', rw: 'randread', bs: '4k', depth: 1, count: 20_000 },
  { name: '4 KiB random read, depth 16', rw: 'randread', bs: '4k', depth: 16, count: 120_000 },
  { name: '4 KiB random write, depth 1', rw: 'randwrite', bs: '4k', depth: 1, count: 20_000 },
  { name: '4 KiB random write, depth 16', rw: 'randwrite', bs: '4k', depth: 16, count: 80_000 },
  { name: '64 KiB random read, depth 8', rw: 'randread', bs: '64k', depth: 8, count: 30_000 },
  { name: '1 MiB read, depth 4', rw: 'read', bs: '1m', depth: 4, count: 3000 },
  { name: '1 MiB write, depth 4', rw: 'write', bs: '1m', depth: 4, count: 2000 },
]

/** @returns milliseconds that fio's requests took, the last flush with them */
function fio(socket, name, { rw, bs, depth, count }, connections, mebibytes) {
  const each = Math.ceil(count / connections)
  const spread = connections > 1 ? [`--offset_increment=${Math.floor(mebibytes / connections)}m`] : []
  const output = run(peer('fio'), [
    '--name=job',
    '--ioengine=nbd',
    `--uri=nbd+unix:///${name}?socket=${socket}`,
    `--rw=${rw}`,
    `--bs=${bs}`,
    `--iodepth=${depth}`,
    `--number_ios=${each}`,
    `--size=${Math.floor(mebibytes / connections)}m`,
    `--io_size=${1024 * 1024}m`,
    `--numjobs=${connections}`,
    ...spread,
    '--end_fsync=1',
    '--randrepeat=1',
    '--group_reporting',
    '--output-format=json',
  ])
  const [job] = JSON.parse(output.slice(output.indexOf('{'))).jobs
  if (job.error !== 0) throw new Error(`fio on ${socket} ended with error ${job.error}`)
  const done = job.read.total_ios + job.write.total_ios
  if (done !== each * connections) throw new Error(`fio on ${socket} made ${done} of ${each * connections} requests`)
  return Math.max(job.read.runtime, job.write.runtime) + (job.sync.lat_ns.N > 0 ? job.sync.lat_ns.mean / 1e6 : 0)
}

/** A server process, when its socket is there. */
async function started(socket, program, args, env = process.env) {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit'], env })
  process.once('exit', () => child.kill('SIGKILL'))
  for (let i = 0; !existsSync(socket); i++) {
    if (child.exitCode !== null || i > 500) throw new Error(`${program} does not listen`)
    await pause(20)
  }
  return child
}

export async function nbdRows(folder, { rounds, mebibytes: wanted, report }) {
  const mebibytes = Math.min(wanted, SIZE_MIB_MAX)
  const children = []
  try {
    const bundle = join(root, 'dist', 'bench-nbd-file.mjs')
    const external = ['koffi', 'fs-native-extensions']
    await build({
      entryPoints: [join(root, 'bench', 'nbd-file.ts')],
      bundle: true,
      platform: 'node',
      format: 'esm',
      target: 'node20',
      external,
      outfile: bundle,
    })
    const file = name => join(folder, `${name}.raw`)
    const socket = name => join(folder, `${name.replaceAll(' ', '-')}.sock`)
    const servers = {
      lunar: [process.execPath, [bundle, socket('lunar'), file('lunar')], { ...process.env, UV_THREADPOOL_SIZE: '16' }],
      'nbdkit file': [peer('nbdkit'), ['-f', '-U', socket('nbdkit file'), 'file', file('nbdkit file')]],
      'qemu-nbd': [peer('qemu-nbd'), ['-k', socket('qemu-nbd'), '-f', 'raw', '-e', '16', '--persistent', '--cache=writeback', file('qemu-nbd')]],
    }
    for (const [name, [program, args, env]] of Object.entries(servers)) {
      makeRandomFile(file(name), mebibytes)
      if (statSync(file(name)).size !== mebibytes * 1024 * 1024) throw new Error(`${file(name)} has the wrong size`)
      children.push(await started(socket(name), program, args, env))
    }
    const rows = []
    for (const connections of [1, 4]) {
      for (const job of jobs) {
        const label = `NBD ${job.name}, ${connections} connection${connections > 1 ? 's' : ''}`
        const contestants = Object.keys(servers).map(name => ({ name, run: () => fio(socket(name), '', job, connections, mebibytes) }))
        const samples = await takeTurns(contestants, rounds, line => report(`${label}, ${line}`))
        rows.push({ ...speedRow(label, samples, 'lunar', ['nbdkit file', 'qemu-nbd'], GOAL), samples: Object.fromEntries(samples) })
      }
    }
    return rows
  } catch (error) {
    return [brokenRow('NBD', error)]
  } finally {
    for (const child of children) child.kill('SIGTERM')
    for (const name of ['lunar', 'nbdkit file', 'qemu-nbd']) rmSync(join(folder, `${name}.raw`), { force: true })
  }
}

/**
 * How late the event loop of a server is while hosts keep it busy (serving.md): what its own metrics say, from the opening of the
 * port for them to the end of the load. One fio makes small random reads and writes, another long ones, on a mirror with a snapshot.
 */
import { spawn } from 'node:child_process'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { root } from '../scripts/setup.mjs'
import { brokenRow, formatMs, median, peer, run } from './harness.mjs'

const SIZE_MIB_MAX = 512
const SECONDS = 10
/** p99.9, milliseconds. */
const MOST = 20

const loads = [
  ['--rw=randrw', '--bs=4k', '--iodepth=16', '--numjobs=2'],
  ['--rw=rw', '--bs=1m', '--iodepth=2', '--numjobs=1'],
]

function lunarIn(folder) {
  const env = { ...process.env, LUNAR_HOME: join(folder, 'home') }
  const program = join(root, 'bin', 'lunar.cjs')
  return {
    ok: (...args) => run(process.execPath, [program, ...args], { env, cwd: folder }),
    start: (...args) => spawn(process.execPath, [program, ...args], { env, cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] }),
  }
}

/** Resolves with where metrics are, once the server has said so. */
function metricsOf(server) {
  return new Promise((resolve, reject) => {
    let text = ''
    server.once('exit', () => reject(new Error('the server ended')))
    server.stdout.on('data', chunk => {
      text += chunk
      const [, uri] = /^metrics\t(\S+)$/m.exec(text) ?? []
      if (uri) resolve(uri)
    })
  })
}

function load(socket, args, mebibytes) {
  const child = spawn(
    peer('fio'),
    ['--name=job', '--ioengine=nbd', `--uri=nbd+unix:///db?socket=${socket}`, ...args, `--size=${mebibytes}m`, '--time_based', `--runtime=${SECONDS}`],
    { stdio: 'ignore' },
  )
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', status => (status === 0 ? resolve() : reject(new Error(`fio ended with status ${status}`))))
  })
}

/** @returns milliseconds */
async function delay(folder, mebibytes) {
  const lunar = lunarIn(folder)
  const disks = ['d1.img', 'd2.img', 'd3.img', 'd4.img']
  const socket = join(folder, 'db1.sock')
  lunar.ok('pool', 'create', 'late', ...disks, '--size', `${mebibytes * 2 + 256}MiB`)
  lunar.ok('lun', 'create', 'late/db', '--size', `${mebibytes}MiB`, '--raid', 'raid1')
  lunar.ok('host', 'add', 'late/db1')
  lunar.ok('present', 'late/db', '--host', 'db1')
  const server = lunar.start('serve', 'late', '--socket', `db1=${socket}`, '--metrics-listen', '127.0.0.1:0')
  try {
    const uri = await metricsOf(server)
    lunar.ok('snap', 'create', 'late/db@before', '--read-only')
    await Promise.all(loads.map(args => load(socket, args, mebibytes)))
    const text = await (await fetch(uri)).text()
    const [, seconds] = /^lunar_event_loop_delay_seconds\{quantile="0.999"\} (\S+)$/m.exec(text) ?? []
    if (seconds === undefined) throw new Error('the server does not tell the delay of its event loop')
    return Number(seconds) * 1000
  } finally {
    server.removeAllListeners('exit')
    lunar.ok('server', 'stop', 'late')
    lunar.ok('pool', 'destroy', 'late', '--yes')
    for (const disk of disks) rmSync(join(folder, disk), { force: true })
  }
}

export async function loopDelayRows(folder, { rounds, mebibytes, report }) {
  const name = 'delay of the event loop under load, p99.9'
  try {
    const samples = []
    for (let round = 0; round < rounds; round++) {
      samples.push(await delay(folder, Math.min(mebibytes, SIZE_MIB_MAX)))
      report(`${name}, round ${round + 1} of ${rounds}: ${formatMs(samples.at(-1))}`)
    }
    const most = median(samples)
    return [{ name, product: most, peers: [], goal: MOST, met: most <= MOST, shown: formatMs(most), wanted: `at most ${MOST} ms`, samples: { lunar: samples } }]
  } catch (error) {
    return [brokenRow(name, error)]
  }
}

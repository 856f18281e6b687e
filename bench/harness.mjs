/** Product and peers in turn on the same bytes: timing, medians, ratios, the table. */
import { spawnSync } from 'node:child_process'
import { findProgram } from '../scripts/setup.mjs'

/** The programs that rows compare with, and the Debian package each is in. */
const peerPackages = {
  'qemu-img': 'qemu-utils',
  'qemu-nbd': 'qemu-utils',
  nbdkit: 'nbdkit',
  fio: 'fio',
  dd: 'coreutils',
  sync: 'coreutils',
  cp: 'coreutils',
  'mkfs.xfs': 'xfsprogs',
  mount: 'mount',
  umount: 'mount',
}

/** @returns path of a peer. @throws Error that names the Debian package when it is missing */
export function peer(program) {
  const path = findProgram(program)
  if (!path) throw new Error(`${program} is missing: apt-get install ${peerPackages[program]}`)
  return path
}

/** Runs a command to its end; anything but status 0 ends the row. @returns its stdout */
export function run(program, args, options = {}) {
  const result = spawnSync(program, args, { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024, stdio: ['ignore', 'pipe', 'pipe'], ...options })
  if (result.error) throw result.error
  if (result.status !== 0) throw new Error(`${program} ${args.join(' ')} ended with status ${result.status ?? result.signal}: ${result.stderr}`)
  return result.stdout
}

/**
 * @typedef {object} Contestant
 * @property {string} name
 * @property {() => void | Promise<void>} [before] not timed
 * @property {() => number | void} run timed, start of the process and final flush included; or it returns the milliseconds
 *   of what it timed itself
 * @property {() => void} [after] not timed
 */

/**
 * Runs all contestants in every round, each round beginning with another one, so that none always comes after the same
 * neighbour: what one leaves to the disk slows down the next.
 *
 * @param {Contestant[]} contestants
 * @returns {Promise<Map<string, number[]>>} milliseconds of each run, by name
 */
export async function takeTurns(contestants, rounds, report = () => undefined) {
  const samples = new Map(contestants.map(({ name }) => [name, []]))
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < contestants.length; i++) {
      const { name, before, run: timed, after } = contestants[(round + i) % contestants.length]
      await before?.()
      const begun = performance.now()
      const own = timed()
      const ms = typeof own === 'number' ? own : performance.now() - begun
      after?.()
      samples.get(name).push(ms)
      report(`round ${round + 1} of ${rounds}: ${name} ${formatMs(ms)}`)
    }
  }
  return samples
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

export const formatMs = ms => (ms >= 1000 ? `${(ms / 1000).toFixed(2)} s` : `${ms.toFixed(1)} ms`)

const least = values => Math.min(...values)

/**
 * A row of a speed: how many times as fast as the best peer the product is, by medians; at least `goal`. The ratio of the
 * least times is shown beside it: where it is far off, the machine was busy with other things.
 * @param {Map<string, number[]>} samples
 */
export function speedRow(name, samples, product, peers, goal) {
  const mine = median(samples.get(product))
  const others = peers.map(other => ({ name: other, ms: median(samples.get(other)) })).sort((a, b) => a.ms - b.ms)
  const ratio = others[0].ms / mine
  const leastRatio = least(peers.map(other => least(samples.get(other)))) / least(samples.get(product))
  const shown = `${ratio.toFixed(2)} (least ${leastRatio.toFixed(2)})`
  return { name, product: mine, peers: others, ratio, leastRatio, goal, met: ratio >= goal, shown, wanted: `at least ${goal}` }
}

/** A row of a delay: how much longer than the peer the product takes, by medians, and by the least times; at most `most` milliseconds. */
export function delayRow(name, samples, product, other, most) {
  const mine = median(samples.get(product))
  const base = median(samples.get(other))
  const more = mine - base
  const leastMore = least(samples.get(product)) - least(samples.get(other))
  return {
    name,
    product: mine,
    peers: [{ name: other, ms: base }],
    more,
    leastMore,
    goal: most,
    met: more <= most,
    shown: `+${more.toFixed(0)} ms (least +${leastMore.toFixed(0)})`,
    wanted: `at most +${most} ms`,
  }
}

/** A row of what must not grow: how many times as long as the other the product takes, by medians, and by the least times; at most `most`. */
export function growthRow(name, samples, product, other, most) {
  const mine = median(samples.get(product))
  const base = median(samples.get(other))
  const ratio = mine / base
  const leastRatio = least(samples.get(product)) / least(samples.get(other))
  const shown = `${ratio.toFixed(2)} times (least ${leastRatio.toFixed(2)})`
  return { name, product: mine, peers: [{ name: other, ms: base }], ratio, leastRatio, goal: most, met: ratio <= most, shown, wanted: `at most ${most}` }
}

/** A row that could not be measured. */
export const brokenRow = (name, error) => ({ name, error: error instanceof Error ? error.message : String(error), met: false })

export function table(rows) {
  const cells = rows.map(row =>
    row.error
      ? [row.name, 'FAILED', row.error, '', '', '']
      : [row.name, formatMs(row.product), row.peers.map(({ name, ms }) => `${name} ${formatMs(ms)}`).join(', '), row.shown, row.wanted, row.met ? 'yes' : 'NO'],
  )
  const all = [['what', 'lunar', 'peers', 'figure', 'goal', 'met'], ...cells]
  const widths = all[0].map((_, column) => Math.max(...all.map(row => (row[1] === 'FAILED' && column === 2 ? 0 : row[column].length))))
  return all
    .map(row =>
      row
        .map((cell, column) => cell.padEnd(widths[column]))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

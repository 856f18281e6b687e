/** XOR for parity against a plain loop over the same bytes: GB/s are of the bytes read. */
import { join } from 'node:path'
import { build } from 'esbuild'
import { root } from '../scripts/setup.mjs'
import { brokenRow, median, speedRow, takeTurns } from './harness.mjs'

const KIB = 1024
/** Bytes read in a run. */
const BYTES = 256 * 1024 * KIB

async function load() {
  const entry = join(root, 'src', 'core', 'raid', 'xor.ts')
  const { outputFiles } = await build({ entryPoints: [entry], bundle: true, write: false, format: 'esm', platform: 'node', target: 'node20' })
  return import(`data:text/javascript;base64,${Buffer.from(outputFiles[0].contents).toString('base64')}`)
}

function plainLoop(target, sources) {
  target.set(sources[0])
  for (const source of sources.slice(1)) for (let i = 0; i < target.length; i++) target[i] ^= source[i]
}

/** The parity of a row; what one 4 KiB write needs, old bytes, new bytes and old parity. */
const cases = [
  { name: 'XOR of 4 x 64 KiB', count: 4, length: 64 * KIB, goal: 8 },
  { name: 'XOR of 3 x 4 KiB', count: 3, length: 4 * KIB, goal: 8 },
  { name: 'XOR of 3 x 512 bytes', count: 3, length: 512, goal: 3 },
]

export async function parityRows(_folder, { rounds, report }) {
  try {
    const { xorOf } = await load()
    const rows = []
    for (const { name, count, length, goal } of cases) {
      const sources = Array.from({ length: count }, (_, i) => new Uint8Array(length).fill(i + 1))
      const target = new Uint8Array(length)
      const times = Math.round(BYTES / (count * length))
      const repeat = way => () => {
        for (let i = 0; i < times; i++) way(target, sources)
      }
      const contestants = [
        { name: 'lunar', run: repeat(xorOf) },
        { name: 'plain loop', run: repeat(plainLoop) },
      ]
      const samples = await takeTurns(contestants, rounds, line => report(`${name}, ${line}`))
      const row = speedRow(name, samples, 'lunar', ['plain loop'], goal)
      rows.push({ ...row, shown: `${row.shown}, ${(BYTES / median(samples.get('lunar')) / 1e6).toFixed(1)} GB/s` })
    }
    return rows
  } catch (error) {
    return [brokenRow('XOR', error)]
  }
}

/** Power that fails: simulated disks that stop answering after a number of operations, each of its own or all together. */
import type { SimulatedDisk } from '../../src/core/block/simulated.ts'

/** Disk `i` takes `lives[i]` more operations; what is asked of it afterwards never ends. */
export function goDark(disks: readonly SimulatedDisk[], lives: readonly number[]): void {
  for (const [i, disk] of disks.entries()) {
    let left = lives[i]!
    disk.plan = () => (left-- > 0 ? undefined : never)
  }
}

/** All disks together take `life` more operations. */
export function goDarkTogether(disks: readonly SimulatedDisk[], life: number): void {
  let left = life
  for (const disk of disks) disk.plan = () => (left-- > 0 ? undefined : never)
}

const never = { delay: new Promise<never>(() => undefined) }

/** Resolves when `work` ends (however it does), or when nothing has moved on any disk for a while of turns: everybody waits for a disk that is dark. */
export async function untilQuiet(disks: readonly SimulatedDisk[], work: Promise<unknown>): Promise<void> {
  let ended = false
  const end = (): void => {
    ended = true
  }
  work.then(end, end)
  const operations = (): number => disks.reduce((sum, { counters }) => sum + counters.reads + counters.writes + counters.durables + counters.flushes, 0)
  for (let turns = 0, last = -1; turns < 200 && !ended; turns++) {
    await new Promise(resolve => setImmediate(resolve))
    if (operations() !== last) turns = 0
    last = operations()
  }
}

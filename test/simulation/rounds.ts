import type { SimulatedDisk, SimulatedOperation } from '../../src/core/block/simulated.ts'
import { pass } from './machine.ts'

export interface Rounds {
  /** How often everybody waited for flushes: those that run beside each other, on one disk or on several, are one round. */
  readonly rounds: number
  /** Flushes and durable writes of each disk. */
  readonly flushes: readonly number[]
}

/** Runs `work` while every flush waits until nothing else moves; counted by the disks alone (hazard 56). */
export async function countRounds(disks: readonly SimulatedDisk[], work: () => Promise<unknown>): Promise<Rounds> {
  let waiting: (() => void)[] = []
  let moved = 0
  const plans = disks.map(disk => disk.plan)
  for (const disk of disks) {
    disk.resetCounters()
    disk.plan = ({ kind }: SimulatedOperation) => {
      moved++
      return kind === 'flush' || kind === 'durable' ? { delay: new Promise<void>(resolve => waiting.push(resolve)) } : undefined
    }
  }
  const state = { ended: false }
  const run = work().finally(() => {
    state.ended = true
  })
  run.catch(() => undefined)
  let rounds = 0
  while (!state.ended) {
    const before = moved
    await pass(3)
    if (moved !== before || waiting.length === 0) continue
    rounds++
    for (const resolve of waiting.splice(0)) resolve()
  }
  waiting = []
  disks.forEach((disk, i) => {
    disk.plan = plans[i]
  })
  await run
  return { rounds, flushes: disks.map(disk => disk.flushCount) }
}

/** A write to the part of a disk where user data lies. */
export interface DataWrite {
  readonly disk: number
  readonly offset: number
  readonly length: number
}

/** Runs `work` and lists what it wrote to segments, but for durable writes, which are metadata. */
export async function dataWrites(disks: readonly SimulatedDisk[], work: () => Promise<unknown>): Promise<DataWrite[]> {
  const writes: DataWrite[] = []
  disks.forEach((disk, index) => {
    disk.plan = ({ kind, offset, length }) => {
      if (kind === 'write') writes.push({ disk: index, offset, length })
      return undefined
    }
  })
  await work()
  for (const disk of disks) disk.plan = undefined
  return writes
}

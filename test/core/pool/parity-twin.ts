/** A parity LUN on simulated disks, beside the bytes it must have. */
import { expect } from 'vitest'
import type { Random } from '../../../src/core/base/random.ts'
import { MIB } from '../../../src/core/base/units.ts'
import type { SimulatedDisk } from '../../../src/core/block/simulated.ts'
import type { Lun } from '../../../src/core/lun/lun.ts'
import { ROW } from '../../../src/core/raid/geometry.ts'
import { createSimulated, openSimulated, simulatedDisks, type OpenPool } from '../../support/simulated-pool.ts'

export const SIZE = 10 * MIB

export async function makeLun(count = 5): Promise<OpenPool & { lun: Lun; disks: SimulatedDisk[] }> {
  const disks = simulatedDisks(count)
  await createSimulated(disks)
  const open = await openSimulated(disks)
  return { ...open, disks, lun: await open.luns.create({ name: 'a', size: SIZE, raid: 'raid5', reserve: false }) }
}

export function bytesOf(length: number, random: Random): Uint8Array {
  const words = new Uint32Array(length / 4)
  for (let i = 0; i < words.length; i++) words[i] = random.u32()
  return new Uint8Array(words.buffer)
}

/** A LUN beside the bytes it must have. */
export class Twin {
  readonly bytes = new Uint8Array(SIZE)

  constructor(
    readonly lun: Lun,
    readonly random: Random,
  ) {}

  range(): { at: number; length: number } {
    const length = 512 * this.random.between(1, this.random.chance(0.2) ? 4096 : this.random.chance(0.5) ? 16 : 300)
    const at = this.random.chance(0.2) ? ROW * this.random.below(8) : 512 * this.random.below((SIZE - length) / 512)
    return { at, length: Math.min(length, SIZE - at) }
  }

  async write(count: number): Promise<void> {
    const calls: Promise<void>[] = []
    let end = 0
    for (let i = 0; i < count; i++) {
      const { at, length } = this.range()
      // Writes that overlap end one after the other, so that the model knows which is last.
      if (at < end) await Promise.all(calls.splice(0))
      end = Math.max(end, at + length)
      const data = bytesOf(length, this.random)
      this.bytes.set(data, at)
      calls.push(this.lun.write(at, data))
    }
    await Promise.all(calls)
  }

  async check(): Promise<void> {
    const read = new Uint8Array(SIZE)
    await this.lun.read(0, read)
    expect(Buffer.compare(read, this.bytes)).toBe(0)
    for (let i = 0; i < 20; i++) {
      const { at, length } = this.range()
      const part = new Uint8Array(length)
      await this.lun.read(at, part)
      expect(Buffer.compare(part, this.bytes.subarray(at, at + length))).toBe(0)
    }
  }
}

/** What tests of LUNs over simulated disks share. */
import type { Random } from '../../../src/core/base/random.ts'
import type { SimulatedDisk } from '../../../src/core/block/simulated.ts'
import type { Lun } from '../../../src/core/lun/lun.ts'
import { ioError } from '../../support/io-error.ts'

export function bytesOf(length: number, random: Random): Uint8Array {
  const words = new Uint32Array(length / 4)
  for (let i = 0; i < words.length; i++) words[i] = random.u32()
  return new Uint8Array(words.buffer)
}

export async function readAll(lun: Lun, offset: number, length: number): Promise<Uint8Array> {
  const into = new Uint8Array(length).fill(0xee)
  await lun.read(offset, into)
  return into
}

export const isDead = (disk: SimulatedDisk): void => {
  disk.plan = ({ kind }) => ioError(kind)
}

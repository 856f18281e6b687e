/** What tests of LUNs over simulated disks share. */
import type { Random } from '../../../src/core/base/random.ts'
import type { SimulatedDisk } from '../../../src/core/block/simulated.ts'
import type { Lun } from '../../../src/core/lun/lun.ts'
import type { Pool } from '../../../src/core/pool/pool.ts'
import { checkRecords } from '../../../src/metadata/check.ts'
import { ioError } from '../../support/io-error.ts'

/** What the checker has to say, one line each. */
export async function problems(pool: Pool): Promise<string[]> {
  const result = await checkRecords(pool.metadata.range(0, 0, Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER), pool.metadata.stores)
  return result.problems.map(({ code, object, message }) => `${code} ${object} ${message}`)
}

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

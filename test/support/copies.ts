/** A source "a" and its image "b" with a process that copies between them: what tests of faults begin from. */
import { KIB, MIB } from '../../src/core/base/units.ts'
import type { SimulatedDisk } from '../../src/core/block/simulated.ts'
import type { ProcessName } from '../../src/core/snapshot/relationships.ts'
import { makeSim, openSim, readAll, stamped, type SimPool, type SimSpec } from './sim.ts'

export const SIZE = 2 * MIB
export const CHUNK = 64 * KIB

export const kinds = ['completeImage', 'imageUpdate', 'sourceUpdate'] as const satisfies readonly ProcessName[]

/** What both volumes hold. */
export interface Contents {
  readonly a: Buffer
  readonly b: Buffer
}

export interface Prepared {
  readonly disks: SimulatedDisk[]
  readonly contents: Contents
}

type Raid = 'raid0' | 'raid1'

/** The same with some chunks written anew. */
export function changed(before: Buffer, tag: number, chunks: readonly number[]): Buffer {
  const after = Buffer.from(before)
  for (const chunk of chunks) stamped(CHUNK, tag + chunk).copy(after, chunk * CHUNK)
  return after
}

/** A closed pool: "b" is the image of "a" as it was, owns some of its chunks, and both were written since. */
export async function prepare(options: SimSpec & { raid?: readonly [Raid, Raid]; policy?: 'fail-writes' | 'drop' } = {}): Promise<Prepared> {
  const { raid = ['raid1', 'raid1'], policy = 'fail-writes', ...spec } = options
  const disks = await makeSim(spec)
  const open = await openSim(disks)
  await open.create('a', raid[0], SIZE)
  await open.create('b', raid[1], SIZE)
  const first = stamped(SIZE, 1)
  await put(open, 'a', first)
  await open.engine.call('snap.configure', { source: 'a', image: 'b', chunkBytes: CHUNK, policy })
  await open.engine.call('snap.enable', { relationships: ['1'] })
  const contents = { a: changed(first, 100, [0, 1, 7, 15, 16, 30]), b: changed(first, 200, [1, 3, 20]) }
  await putChanged(open, 'a', first, contents.a)
  await putChanged(open, 'b', first, contents.b)
  await open.close()
  return { disks, contents }
}

async function put(open: SimPool, name: string, bytes: Buffer): Promise<void> {
  const device = await open.engine.openLun(name)
  await device.write(0, bytes)
  await device.flush()
  await device.close()
}

/** Writes the chunks in which two contents differ. */
async function putChanged(open: SimPool, name: string, before: Buffer, after: Buffer): Promise<void> {
  const device = await open.engine.openLun(name)
  for (let at = 0; at < SIZE; at += CHUNK)
    if (before.compare(after, at, at + CHUNK, at, at + CHUNK) !== 0) await device.write(at, after.subarray(at, at + CHUNK))
  await device.flush()
  await device.close()
}

/** What both volumes hold when a process that was started on such contents has been acknowledged. */
export const updated = ({ a, b }: Contents, kind: ProcessName): Contents =>
  kind === 'completeImage' ? { a, b } : kind === 'imageUpdate' ? { a, b: a } : { a: b, b }

/** Starts a process; it runs in the background. */
export const start = (open: SimPool, kind: ProcessName): Promise<unknown> => open.engine.call('snap.start', { relationship: '1', kind })

export async function contentsOf(open: SimPool, options: { mixed?: boolean } = {}): Promise<Contents> {
  const read = async (name: string): Promise<Buffer> => {
    const device = await open.engine.openLun(name, { readOnly: true, ...options })
    const bytes = await readAll(device)
    await device.close()
    return bytes
  }
  return { a: await read('a'), b: await read('b') }
}

/** @throws Error where one of the volumes holds something else */
export function expectContents(found: Contents, wanted: Contents, when: string): void {
  for (const name of ['a', 'b'] as const) {
    if (found[name].equals(wanted[name])) continue
    const at = found[name].findIndex((byte, i) => byte !== wanted[name][i])
    throw new Error(`${when}: LUN ${name} is wrong at byte ${at} (chunk ${Math.floor(at / CHUNK)})`)
  }
}

/** The checker itself: quiet about a healthy pool, and loud about every kind of damage. */
import { describe, expect, test } from 'vitest'
import { MIB } from '../../src/core/base/units.ts'
import type { SimulatedDisk } from '../../src/core/block/simulated.ts'
import { Batch } from '../../src/metadata/batch.ts'
import { keyOf } from '../../src/metadata/key.ts'
import { diskRecord, lunRecord, RSD_VALUE, SEGMENTS_VALUE } from '../../src/metadata/records.ts'
import type { Pool } from '../../src/core/pool/pool.ts'
import { checkSim, expectSound, makeSim, openSim, stamped } from '../support/sim.ts'

/** A pool with a mirrored LUN (store 0, slices 0 to 2 bound) and a striped one, closed. */
async function prepared(change: (pool: Pool) => Promise<void> = () => Promise.resolve()): Promise<SimulatedDisk[]> {
  const disks = await makeSim()
  const open = await openSim(disks)
  const mirror = await open.create('mirror', 'raid1')
  const stripe = await open.create('stripe', 'raid0')
  await mirror.write(0, stamped(3 * MIB, 1))
  await stripe.write(MIB, stamped(MIB, 2))
  await mirror.flush()
  await stripe.flush()
  await change(open.pool)
  await open.close()
  return disks
}

const commit = (make: (batch: Batch) => void) => (pool: Pool) => {
  const batch = new Batch()
  make(batch)
  return pool.metadata.commit(batch, 'admin')
}
const byte = (value: number): Uint8Array => Uint8Array.of(value)

describe('independent check', () => {
  test('finds nothing wrong with a healthy pool, and reads its LUNs by itself', async () => {
    const disks = await prepared()
    const pool = await expectSound(disks)
    expect(pool.clean).toBe(true)
    expect([...pool.luns.values()].map(lun => [lun.name, lun.size, lun.map.size])).toEqual([
      ['mirror', 16 * MIB, 3],
      ['stripe', 16 * MIB, 1],
    ])
    expect((await pool.lunBytes('mirror')).subarray(0, 3 * MIB).equals(stamped(3 * MIB, 1))).toBe(true)
    expect((await pool.lunBytes('stripe')).subarray(MIB, 2 * MIB).equals(stamped(MIB, 2))).toBe(true)
  })

  test.each<[string, (batch: Batch) => void, RegExp]>([
    ['a store is gone', batch => batch.delete(keyOf('rsd', 1, 0)), /leads to store 0, which does not exist/],
    ['a map is gone', batch => batch.delete(keyOf('lmap', 1, 0)), /bound but nothing leads to it/],
    ['two slices share a place', batch => batch.patch(keyOf('lmap', 1, 0), 4, byte(1), 256), /slices 0 and 1 share a place/],
    ['a slice behind the end is bound', batch => batch.patch(keyOf('lmap', 1, 0), 20 * 4, byte(3), 256), /slice 20 behind its end is bound/],
    ['a bound bit is lost', batch => batch.patch(keyOf('rsd', 1, 0), 2, byte(3), RSD_VALUE), /leads to a place that is not bound/],
    [
      'a member is on the same disk twice',
      batch => batch.patch(keyOf('rsd', 1, 0), 24, byte(3), RSD_VALUE).patch(keyOf('rsd', 1, 0), 24 + 4 * 8, byte(3), RSD_VALUE),
      /member 4 is on disk 3, as is one that is to make up for it/,
    ],
    ['a segment leaks', batch => batch.patch(keyOf('segments', 3, 0), 4, byte(1), SEGMENTS_VALUE), /in use \(1\) but nothing owns it/],
    ['segments in use are called clean', batch => batch.patch(keyOf('segments', 0, 0), 0, byte(0), SEGMENTS_VALUE), /owns it, and the map says 0/],
    ['a counter is wrong', batch => batch.patch(keyOf('lun', 1), 116, byte(9), lunRecord.size), /says 9 slices are bound, 3 are/],
    ['two LUNs have one name', batch => batch.patch(keyOf('lun', 2), 16, Buffer.from('mirror'), lunRecord.size), /has its name "mirror" too/],
    ['a LUN is gone', batch => batch.delete(keyOf('lun', 2)), /LUN 2 does not exist|the LUN does not exist/],
    ['an open mark hangs in the air', batch => batch.put(keyOf('open', 9, 0), new Uint8Array(64).fill(1)), /open: store 0 of LUN 9 does not exist/],
    ['a stale mark hangs in the air', batch => batch.put(keyOf('stale', 9, 0), byte(1)), /stale: store 0 of LUN 9 does not exist/],
    ['a disk record contradicts its label', batch => batch.patch(keyOf('disk', 1), 24, byte(7), diskRecord.size), /label and record of d1 differ/],
    ['the pool record is gone', batch => batch.delete(keyOf('pool')), /there is no pool record/],
    ['a record of no kind', batch => batch.put({ hi: 99 * 2 ** 32, lo: 0 }, byte(1)), /of no known kind/],
  ])('notices that %s', async (_, make, message) => {
    const { problems } = await checkSim(await prepared(commit(make)))
    expect(problems.join('\n')).toMatch(message)
  })

  /** Writes over one place of a disk as rot does: without the disk noticing. */
  const rot = async (disk: SimulatedDisk, at: number, bytes: Uint8Array): Promise<void> => {
    await disk.write(at, bytes)
    await disk.flush()
  }

  test('notices copies of a mirror that differ, and clean space that is not zero', async () => {
    const disks = await prepared()
    const { pool } = await checkSim(disks)
    const store = pool!.stores.get('1:0')!
    const { disk, segment } = store.members[5]!
    const { segmentsAt } = pool!.disks.get(disk)!
    const at = segmentsAt + segment * 2 * MIB
    await rot(disks[disk]!, at, Buffer.alloc(512, 1))
    await rot(disks[disk]!, at + 7 * 256 * 1024, Buffer.alloc(512, 1))
    const clean = pool!.segments.get(2)!.findIndex(state => state === 0)
    await rot(disks[2]!, segmentsAt + clean * 2 * MIB, Buffer.alloc(512, 1))
    const { problems } = await checkSim(disks)
    expect([...problems].sort()).toEqual([
      'mirror: the copies of slice 0 of store 0 of LUN 1 differ in column 1',
      `segment 2:${clean}: is clean but not zero`,
      'store 0 of LUN 1: slice 7 on member 5 is free but not zero',
    ])
  })

  test('reads parity LUNs by itself, without any one disk too, and notices parity that does not fit', async () => {
    const disks = await makeSim({ disks: 5 })
    const open = await openSim(disks)
    const lun = await open.create('parity', 'raid5')
    await lun.write(0, stamped(3 * MIB, 1))
    await lun.flush()
    await open.close()
    const contents = Buffer.concat([stamped(3 * MIB, 1), Buffer.alloc(13 * MIB)])
    const pool = await expectSound(disks)
    expect((await pool.lunBytes('parity')).equals(contents)).toBe(true)
    for (let away = 0; away < 5; away++) {
      const { pool: rest } = await checkSim(disks.filter((_, i) => i !== away))
      expect((await rest!.lunBytes('parity')).equals(contents)).toBe(true)
    }
    const { disk, segment } = pool.stores.get('1:0')!.members[4]!
    await rot(disks[disk]!, pool.disks.get(disk)!.segmentsAt + segment * 2 * MIB + 256 * 1024 + 7, Buffer.alloc(1, 255))
    expect((await checkSim(disks)).problems).toEqual(['parity: of slice 1 of store 0 of LUN 1 does not fit its columns at byte 7'])
  })

  test('tells damage of one copy from loss', async () => {
    const disks = await prepared()
    const address = (number: number): number => 65536 + number * 4096
    await rot(disks[0]!, 100, Buffer.alloc(8, 255))
    await rot(disks[1]!, address(0) + 500, Buffer.alloc(8, 255))
    await rot(disks[2]!, disks[2]!.size - 4096, Buffer.alloc(512))
    const first = await checkSim(disks)
    expect(first.problems).toEqual([])
    expect(first.damage).toEqual(['d0: the first label is damaged', 'd1: root place 0 is damaged', 'd2: the second label is damaged'])

    const { pool } = first
    const { tree, stores } = pool!.onDisk[0]!.roots[0]!
    for (const [i, place] of stores[0]!.places.entries()) {
      const disk = disks[place.disk]!
      await rot(disk, pool!.disks.get(place.disk)!.segmentsAt + place.segment * 2 * MIB + (tree!.address % 2 ** 24) * 4096 + 200, Buffer.alloc(4, i + 1))
      const verdict = await checkSim(disks)
      if (i < 2)
        expect([verdict.problems, verdict.damage]).toEqual([
          [],
          expect.arrayContaining([`disk ${place.disk}: its copy of metadata block ${tree!.address} is wrong`]),
        ])
      else expect(verdict.problems).toContain(`tree: no copy of block ${tree!.address} is whole`)
    }
  })

  test('sees that too few disks are there', async () => {
    const disks = await prepared()
    expect((await checkSim(disks.slice(0, 1))).problems).toEqual(['quorum: no state is on more than half of its members'])
    expect((await checkSim(disks.slice(0, 2))).problems).toEqual([])
  })
})

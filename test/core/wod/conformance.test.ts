import { expect } from 'vitest'
import { KIB, MIB } from '../../../src/core/base/units.ts'
import { checkRecords } from '../../../src/metadata/check.ts'
import { writeOnceSuite } from '../../conformance/write-once.ts'
import { WodPool, wodKindsAll } from '../../support/wod-pool.ts'

for (const kind of wodKindsAll) {
  for (const blockBytes of [64 * KIB, 4 * KIB]) {
    writeOnceSuite(
      `a device on a ${kind} with blocks of ${blockBytes}`,
      async () => {
        const pool = await WodPool.make()
        const device = await pool.create(kind, 4 * MIB, blockBytes)
        const dispose = async (): Promise<void> => {
          const { metadata } = pool.open.pool
          const { problems } = await checkRecords(metadata.range(0, 0, Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER), metadata.stores)
          expect(problems).toEqual([])
          await pool.open.pool.close()
        }
        return { device, reopen: () => pool.reopen(), dispose }
      },
      blockBytes === 4 * KIB ? 1 : 4,
    )
  }
}

/** F36: a whole pool put back to an old copy cannot be told from inside; generation and time of the last write are shown, so that an operator can. */
import { copyFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { expectSoundFiles, useProgram } from '../support/program.ts'

interface Shown {
  readonly generation: number
  readonly lastWrite: string
}

describe('F36 rolled back', () => {
  const lunar = useProgram()

  test('pool show and pool status say how old a pool is', { timeout: 60_000 }, async () => {
    const disks = lunar.makeTank(2)
    const copies = disks.map(disk => `${disk}.old`)
    for (const [i, disk] of disks.entries()) copyFileSync(disk, copies[i]!)
    const old = lunar.json<Shown>('pool', 'show', 'tank')
    const begun = Date.now()
    lunar.ok('lun', 'create', 'tank/a', '--size', '1MiB', '--raid', 'raid1')
    lunar.ok('pool', 'set', 'tank', 'comment=newer')
    const now = lunar.json<Shown>('pool', 'show', 'tank')
    expect(now.generation).toBe(old.generation + 2)
    expect(Date.parse(now.lastWrite)).toBeGreaterThanOrEqual(begun)
    expect(Date.parse(old.lastWrite)).toBeLessThan(begun)

    for (const [i, disk] of disks.entries()) copyFileSync(copies[i]!, disk)
    for (const verb of ['show', 'status']) {
      expect(lunar.json<Shown>('pool', verb, 'tank')).toMatchObject({ generation: old.generation, lastWrite: old.lastWrite })
      const text = lunar.ok('pool', verb, 'tank')
      expect(text).toMatch(new RegExp(`last write: +${old.lastWrite}`))
      expect(text).toMatch(new RegExp(`generation: +${old.generation}\\n`))
    }
    await expectSoundFiles(disks)
  })
})

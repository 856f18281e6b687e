/** F13 for relationships: their commands killed with SIGKILL at their n-th call that changes a file: as before or as after, images exact. */
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { MIB } from '../../src/core/base/units.ts'
import { expectConsistentFiles, expectSoundFiles, useProgram, type Program } from '../support/program.ts'
import { readAll, stamped } from '../support/sim.ts'

const hook = join(import.meta.dirname, '..', 'support', 'kill-at.cjs')
const SIZE = 2 * MIB
const CHANGED = 256 * 1024
const first = stamped(SIZE, 1)
const second = (() => {
  const bytes = Buffer.from(first)
  stamped(CHANGED, 2).copy(bytes)
  return bytes
})()

interface Look {
  /** `gone`, or the state of the relationship. */
  readonly state: string
  readonly a: Buffer
  /** Undefined when it is refused. */
  readonly b: Buffer | undefined
}

/** A command, what may be found when it was killed, and what is when it came to its end. */
interface Step {
  readonly args: readonly string[]
  readonly before: (look: Look) => boolean
  readonly after: (look: Look) => boolean
}

const reads = (look: Look, a: Buffer, b: Buffer | undefined): boolean =>
  look.a.equals(a) && (b === undefined ? look.b === undefined : look.b?.equals(b) === true)

async function look(lunar: Program): Promise<Look> {
  return lunar.reopened(async service => {
    const read = async (name: string): Promise<Buffer> => {
      const device = await service.openLun(name, { readOnly: true })
      const bytes = await readAll(device, 0, SIZE)
      await device.close()
      return bytes
    }
    const a = await read('a')
    const b = await read('b').catch((error: unknown) => {
      expect(['ERR_IMAGE_INCOMPLETE', 'ERR_INCOMPLETE']).toContain((error as { code: string }).code)
      return undefined
    })
    const [relationship] = (await service.call('snap.list', {})).data
    return { state: relationship ? relationship.state : 'gone', a, b }
  })
}

describe('F13 killed commands of relationships', () => {
  const lunar = useProgram()

  test('enabled, written, completed, updated, disabled, unconfigured, killed in each: before or after, never between', { timeout: 240_000 }, async () => {
    const disks = lunar.makeTank(3)
    for (const name of ['a', 'b']) lunar.ok('lun', 'create', `tank/${name}`, '--size', '2MiB', '--raid', 'raid1')
    lunar.ok('lun', 'import', 'tank/a', lunar.write('first.bin', first), '--yes')
    lunar.ok('snap', 'configure', 'tank/a', 'tank/b')
    const zeros = Buffer.alloc(SIZE)
    const steps: readonly Step[] = [
      { args: ['EnableSnap', 'tank/1'], before: found => reads(found, first, zeros), after: found => found.state === 'enabled' && reads(found, first, first) },
      {
        args: ['lun', 'write', 'tank/a', lunar.write('second.bin', second.subarray(0, CHANGED))],
        // Any part of the source may be new: the image is what it was.
        before: found => found.b?.equals(first) === true,
        after: found => found.state === 'enabled' && reads(found, second, first),
      },
      {
        args: ['StartCompleteImage', 'tank/1', '--wait'],
        before: found => reads(found, second, first),
        after: found => found.state === 'enabled' && reads(found, second, first),
      },
      {
        args: ['StartImageUpdate', 'tank/1', '--wait'],
        before: found => reads(found, second, first),
        after: found => reads(found, second, second),
      },
      {
        args: ['DisableSnap', 'tank/1'],
        before: found => reads(found, second, second),
        after: found => found.state === 'disabled' && reads(found, second, second),
      },
      {
        args: ['snap', 'unconfigure', 'tank/1', '--yes'],
        before: found => reads(found, second, second),
        after: found => found.state === 'gone' && reads(found, second, second),
      },
    ]
    for (const { args, before, after } of steps) {
      for (let n = 1; ; n += 7) {
        const result = lunar.runWith({ node: ['--require', hook], env: { LUNAR_KILL_AT: String(n) } }, ...args)
        const killed = result.signal === 'SIGKILL'
        if (!killed) expect(result.status, result.stderr).toBe(0)
        await expectConsistentFiles(disks)
        const found = await look(lunar)
        expect(killed ? before(found) || after(found) : after(found), `${args.join(' ')} killed at call ${n}: ${found.state}`).toBe(true)
        await expectSoundFiles(disks)
        // It cannot be unconfigured twice.
        if (!killed || found.state === 'gone') break
      }
    }
  })
})

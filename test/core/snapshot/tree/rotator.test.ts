/** Rotation of real snapshots: what is left alone, one commit, two at once, and a clock that jumps. */
import { beforeEach, expect, test } from 'vitest'
import type { Clock } from '../../../../src/core/base/clock.ts'
import { MIB } from '../../../../src/core/base/units.ts'
import type { SimulatedDisk } from '../../../../src/core/block/simulated.ts'
import type { RotationRules } from '../../../../src/core/snapshot/tree/rotation.ts'
import { matches, Rotator, type Rotation } from '../../../../src/core/snapshot/tree/rotator.ts'
import { createSimulated, openSimulated, simulatedDisks, type OpenPool } from '../../../support/simulated-pool.ts'

const HOUR = 3_600_000
const YEAR = 365 * 24 * HOUR

let wallMs = 0
let monotonicMs = 0
const clock: Clock = { wallMs: () => wallMs, monotonicMs: () => monotonicMs, pause: () => Promise.resolve() }
const pass = (ms: number): void => {
  wallMs += ms
  monotonicMs += ms
}

let disks: SimulatedDisk[]
let open: OpenPool
let rotator: Rotator
/** Hosts that reach a snapshot, by its name. */
let presented = new Map<string, string[]>()
const openPool = async (): Promise<void> => {
  open = await openSimulated(disks, false, clock)
  rotator = new Rotator(open.pool, open.trees, snapshot => presented.get(snapshot.record.name) ?? [])
}
const reopen = async (): Promise<void> => {
  await open.pool.close()
  await openPool()
}
const rules = (some: Partial<RotationRules>): RotationRules => ({ keep: {}, last: 1, lastIsRule: false, olderThanMs: undefined, zone: 'UTC', ...some })
const rotate = (some: Partial<RotationRules>, rest: Partial<Rotation> = {}, ...volumes: string[]): ReturnType<Rotator['rotate']> =>
  rotator.rotate(volumes.length > 0 ? volumes : ['db'], { rules: rules(some), ...rest })
const names = (): string[] => open.trees.list().map(({ name }) => name)
const hourly = async (count: number, from = 0): Promise<void> => {
  for (let i = from; i < from + count; i++) {
    pass(HOUR)
    await open.trees.create({ names: [`db@h${i}`] })
  }
}

beforeEach(async () => {
  // Later than the clock that the disks are made by.
  wallMs = Date.parse('2126-11-21T08:00:00Z')
  monotonicMs = 5000
  presented = new Map()
  disks = simulatedDisks(3)
  await createSimulated(disks)
  await openPool()
  for (const name of ['db', 'web']) await open.luns.create({ name, size: MIB, raid: 'raid1', reserve: false })
  await reopen()
})

test('deletes in one commit what no rule keeps, and leaves no more to do', async () => {
  await hourly(6)
  await open.trees.create({ names: ['web@a', 'web@b'] })
  const before = open.pool.metadata.generation
  const { rotations } = await rotate({ keep: { hourly: 3 } }, {}, 'db', 'web')
  expect(names()).toEqual(['db@h3', 'db@h4', 'db@h5', 'web@b'])
  expect(open.pool.metadata.generation).toBe(before + 1)
  expect(rotations.map(({ volume, verdicts }) => [volume, verdicts.length])).toEqual([
    ['db', 6],
    ['web', 2],
  ])
  expect((await rotate({ keep: { hourly: 3 } }, {}, 'db', 'web')).rotations.flatMap(({ verdicts }) => verdicts).every(({ keep }) => keep)).toBe(true)
  expect(open.pool.metadata.generation).toBe(before + 1)
  await reopen()
  expect(names()).toEqual(['db@h3', 'db@h4', 'db@h5', 'web@b'])
})

test('of two at once the second finds nothing to do', async () => {
  await hourly(6)
  const [first, second] = await Promise.all([rotate({ keep: { hourly: 3 } }), rotate({ keep: { hourly: 3 } })])
  const deleted = [first, second].map(({ rotations }) => rotations[0]!.verdicts.filter(({ keep }) => !keep).length)
  expect(deleted).toEqual([3, 0])
  expect(names()).toEqual(['db@h3', 'db@h4', 'db@h5'])
})

test('a snapshot that is made meanwhile is the newest for it', async () => {
  await hourly(6)
  const [, rotated] = await Promise.all([open.trees.create({ names: ['db@new'] }), rotate({ last: 3, lastIsRule: true }, { forceMany: true })])
  expect(rotated.rotations[0]!.verdicts).toHaveLength(7)
  expect(names()).toEqual(['db@h4', 'db@h5', 'db@new'])
})

test('leaves alone what is presented to hosts', async () => {
  await hourly(6)
  presented.set('h0', ['backup1'])
  const { rotations } = await rotate({ keep: { hourly: 3 } })
  expect(names()).toEqual(['db@h0', 'db@h3', 'db@h4', 'db@h5'])
  expect(rotations[0]!.verdicts.find(({ snapshot }) => snapshot.name === 'db@h0')).toMatchObject({
    keep: true,
    reasons: [expect.stringContaining('presented to backup1')],
  })
})

test('leaves alone what something rests on or has open, views, and names that are spared', async () => {
  await hourly(7)
  await open.trees.create({ names: ['db@frozen'], readOnly: true })
  await open.trees.create({ names: ['db@view'], of: 'db@frozen' })
  await open.trees.create({ names: ['db@h1@own'] })
  open.trees.find('db@h2').users.push('backup')
  const { rotations } = await rotate({ last: 1, lastIsRule: true }, { except: ['h[', 'h3'], forceMany: true })
  const reasons = Object.fromEntries(rotations[0]!.verdicts.map(({ snapshot, reasons: why }) => [snapshot.name, why.join(', ')]))
  expect(reasons).toMatchObject({
    'db@view': 'a writable view',
    'db@frozen': 'db@view rests on it, last 1 of 1',
    'db@h1': 'db@h1@own rests on it',
    'db@h2': 'backup has it open',
    'db@h3': 'left out of rotation',
    'db@h0': 'no rule keeps it',
  })
  expect(names()).toEqual(['db@h1', 'db@h2', 'db@h3', 'db@frozen', 'db@view', 'db@h1@own'])
  await rotate({ last: 1, lastIsRule: true }, { only: ['h?'], forceMany: true })
  expect(names()).toContain('db@frozen')
})

test('a writable snapshot has its own snapshots rotated', async () => {
  await open.trees.create({ names: ['db@w'] })
  for (const name of ['db@w@a', 'db@w@b']) await open.trees.create({ names: [name] })
  await rotate({ last: 1, lastIsRule: true }, {}, 'db@w')
  expect(names()).toEqual(['db@w', 'db@w@b'])
})

test('more than half is refused, unless it is meant; a dry run tells and changes nothing', async () => {
  await hourly(5)
  await expect(rotate({ last: 2, lastIsRule: true })).rejects.toMatchObject({ code: 'ERR_TOO_MANY', blockers: ['db@h2', 'db@h1', 'db@h0'] })
  const { refused, rotations } = await rotate({ last: 2, lastIsRule: true }, { dryRun: true })
  expect(refused?.code).toBe('ERR_TOO_MANY')
  expect(rotations[0]!.verdicts.filter(({ keep }) => !keep)).toHaveLength(3)
  expect(names()).toHaveLength(5)
  await rotate({ last: 2, lastIsRule: true }, { forceMany: true })
  expect(names()).toEqual(['db@h3', 'db@h4'])
})

const ruin = { olderThanMs: 90 * 24 * HOUR }

test.each([10 * YEAR, -10 * YEAR])('a clock that jumps by %i ms while the pool is open deletes nothing', async jump => {
  await hourly(6)
  wallMs += jump
  await expect(rotate(ruin, { forceMany: true })).rejects.toMatchObject({ code: 'ERR_CLOCK' })
  // Also when a snapshot was made since: its time is as wrong as the clock.
  if (jump > 0) await open.trees.create({ names: ['db@later'] })
  await expect(rotate(ruin, { forceMany: true })).rejects.toMatchObject({ code: 'ERR_CLOCK' })
  expect(names()).toHaveLength(jump > 0 ? 7 : 6)
})

test.each([10 * YEAR, -10 * YEAR])('a clock that jumps by %i ms while the pool is closed deletes nothing', async jump => {
  await hourly(6)
  await open.pool.close()
  wallMs += jump
  await openPool()
  if (jump > 0) await open.trees.create({ names: ['db@later'] })
  await expect(rotate(ruin, { forceMany: true })).rejects.toMatchObject({ code: 'ERR_CLOCK' })
  expect((await rotate(ruin, { dryRun: true })).refused?.code).toBe('ERR_CLOCK')
  expect(names()).toHaveLength(jump > 0 ? 7 : 6)
  // Who knows better says so; what was made in the future stays even then.
  await rotate(ruin, { forceMany: true, forceClock: true })
  expect(names()).toEqual(jump > 0 ? ['db@later'] : ['db@h0', 'db@h1', 'db@h2', 'db@h3', 'db@h4', 'db@h5'])
})

test('a pool that is used every day is rotated every day', async () => {
  for (let day = 0; day < 40; day++) {
    pass(24 * HOUR)
    await reopen()
    await open.trees.create({ names: [`db@d${day}`] })
    await rotate({ keep: { daily: 7 }, last: 3, lastIsRule: true, olderThanMs: 90 * 24 * HOUR })
    expect(names()).toHaveLength(Math.min(7, day + 1))
  }
})

test('hundreds go at once', { timeout: 60_000 }, async () => {
  for (let i = 0; i < 400; i++) await open.trees.create({ names: [`db@s${i}`] })
  await rotate({ last: 2, lastIsRule: true }, { forceMany: true })
  expect(names()).toEqual(['db@s398', 'db@s399'])
})

test('rules that say nothing, and volumes that are not there, are refused', async () => {
  await expect(rotate({})).rejects.toMatchObject({ code: 'ERR_USAGE' })
  await expect(rotate({ last: 0, lastIsRule: true })).rejects.toMatchObject({ code: 'ERR_USAGE' })
  await expect(rotate({ last: 1, lastIsRule: true }, {}, 'nope')).rejects.toMatchObject({ code: 'ERR_LUN_NOT_FOUND' })
})

test.each([
  ['auto-1', ['auto-*'], true],
  ['manual', ['auto-*', 'man?al'], true],
  ['xauto-1', ['auto-*'], false],
  ['a.b', ['a?b'], true],
  ['axb', ['a.b'], false],
])('%s by %j: %s', (name, patterns, want) => {
  expect(matches(name, patterns)).toBe(want)
})

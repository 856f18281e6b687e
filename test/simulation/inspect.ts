/** Opens what a crash left and holds all of it to the model. */
import { isCode } from '../../src/core/base/errors.ts'
import type { Random } from '../../src/core/base/random.ts'
import { SECTOR } from '../../src/core/base/units.ts'
import type { SimulatedDisk } from '../../src/core/block/simulated.ts'
import { checkClean, checkCopies, checkMetadata, describeSector, isOpenable, readPool, recordKinds, sameImage, type PoolImage } from './image.ts'
import type { Life } from './life.ts'
import { activity, finish, openPool, type Running, type Sources } from './machine.ts'
import { atCut, isRedundant, WrongSector, type LunModel, type PoolModel } from './model.ts'
import { leftIn, mayBeInvalid, mayFail, upstream } from './relation-model.ts'
import { textOf } from './text.ts'
import { ReadsFirst } from './reads-first.ts'
import { stampedData } from './stamps.ts'

/** What is known about a state besides the model. */
export interface Expectation {
  readonly model: PoolModel
  readonly cut: number
  /** Whether redundancy was whole until the cut, so that one disk may be lost. */
  readonly whole: boolean
  /** Whether a disk failed before the cut, or was away. */
  readonly troubled: boolean
  /** Whether the pool may have been full. */
  readonly full: boolean
}

/** How thorough a look is: each includes those before it. */
export type Depth = 'read' | 'settle' | 'reopen'

export const knownIn =
  (model: PoolModel) =>
  (number: number): boolean =>
    model.luns.has(number)

/** Waits for work on disks that complete at once. */
export const quick = <T>(disks: readonly SimulatedDisk[], work: Promise<T>, what: string): Promise<T> =>
  finish(
    work,
    () => activity(disks),
    () => what,
  )

/**
 * Opens the pool, reads all of it, and holds it to the model; then reads it again, at once, when the processes are done, and
 * after a clean close.
 *
 * @param disks those that are there; a disk that is lost is left out
 * @returns what it contained, and the kinds of its records
 */
export async function inspect(
  disks: readonly SimulatedDisk[],
  sources: Sources,
  expectation: Expectation,
  depth: Depth,
  lost = false,
): Promise<{ image: PoolImage; kinds: Set<string> }> {
  // What is only read is read while recovery has just begun, and then left as it is; recovery comes to its end where more is looked at.
  if (depth === 'read') readFirst(disks)
  const running = await quick(disks, openPool(disks, sources), 'opening')
  try {
    const found = await inspectOpen(running, disks, sources, expectation, depth, lost)
    if (depth === 'read') stopAll(disks)
    return found
  } catch (error) {
    const lun = error instanceof WrongSector ? running.parts.luns.all.find(({ number }) => expectation.model.luns.get(number)?.uid === error.uid) : undefined
    const where = lun && error instanceof WrongSector ? [await describeSector(running, lun, error.sector)] : []
    throw new Error([textOf(error), ...where, describeOpening(running)].join('\n'), { cause: error })
  }
}

function readFirst(disks: readonly SimulatedDisk[]): void {
  const turns = new ReadsFirst()
  for (const disk of disks) disk.scheduler = turns
}

/** Nothing that is asked of the disks from now on is ever answered. */
function stopAll(disks: readonly SimulatedDisk[]): void {
  const never = new Promise<never>(() => undefined)
  for (const disk of disks) disk.plan = () => ({ delay: never })
}

/** For messages: which copies of the metadata the pool was opened from. */
function describeOpening({ parts: { pool } }: Running): string {
  const { decision, replayedBlocks } = pool.metadata.report
  const name = (id: string): string => [...pool.disks.values()].find(disk => disk.id === id)?.label ?? id
  const list = (ids: readonly string[]): string => ids.map(name).join(' ') || 'none'
  const { winner, current, stale, leftover, absent } = decision
  return [
    `opened epoch ${winner.epochNumber}, sequence ${winner.sequence}, ${replayedBlocks} blocks replayed, members ${list(winner.members)}; current ${list(current)}, stale ${list(stale)}, leftover ${list(leftover)}, absent ${list(absent)}`,
    `disks now: ${[...pool.disks.values()].map(disk => `${disk.number} ${disk.label} ${disk.state}${disk.device ? '' : ' away'}`).join(', ')}`,
  ].join('\n')
}

async function inspectOpen(
  running: Running,
  disks: readonly SimulatedDisk[],
  sources: Sources,
  expectation: Expectation,
  depth: Depth,
  lost: boolean,
): Promise<{ image: PoolImage; kinds: Set<string> }> {
  const { engine } = running
  const isKnown = knownIn(expectation.model)
  await checkMetadata(running, 'after a crash')
  const kinds = await recordKinds(running)
  const image = await quick(disks, readPool(running, isKnown), 'reading')
  hold(image, running, expectation, lost)
  if (depth === 'read') return { image, kinds }
  await checkClean(running, 'after a crash')
  sameImage(image, await quick(disks, readPool(running, isKnown), 'reading again'), 'read again')
  await quick(disks, engine.settled(), 'settling')
  sameImage(image, await quick(disks, readPool(running, isKnown), 'reading'), 'after resync and reclaim')
  await checkSettled(running, 'after resync and reclaim', lost)
  if (depth === 'settle') return { image, kinds }
  await quick(disks, engine.close(), 'closing')
  const again = await quick(disks, openPool(disks, sources), 'opening again')
  await checkSettled(again, 'after a clean close', lost)
  if (!again.parts.pool.metadata.report.cleanShutdown) throw new Error('a clean close is taken for a crash')
  sameImage(image, await quick(disks, readPool(again, isKnown), 'reading'), 'after a clean close')
  await quick(disks, again.engine.close(), 'closing')
  return { image, kinds }
}

async function checkSettled(running: Running, when: string, lost: boolean): Promise<void> {
  await checkMetadata(running, when)
  await checkClean(running, when)
  await checkCopies(running, when)
  const { pool, luns } = running.parts
  // Those of relationships may meet a full pool, or a lost one without redundancy: their volumes tell.
  const failed = (await running.engine.call('task.list', {})).data.find(task => task.state === 'failed' && ['resync', 'reclaim'].includes(task.kind))
  if (failed) throw new Error(`${when} task ${failed.kind} has failed: ${failed.reason}`)
  if (luns.toReclaim.length > 0) throw new Error(`${when} LUN ${luns.toReclaim[0]!.number} is still to be reclaimed`)
  if (lost) return
  for (const stores of pool.stores.values()) if (stores.unsyncedSlices.length > 0) throw new Error(`${when} LUN ${stores.lun} is still to be resynced`)
  for (const disk of pool.disks.values()) if (disk.state === 'merging') throw new Error(`${when} disk ${disk.number} is still merging`)
}

/** Some of a LUN may be lost: with the last copy, or with an image that was given up, which it reads through. */
function mayBeLost(lun: LunModel, image: PoolImage, { model, whole }: Expectation, lost: boolean): boolean {
  const above = upstream(model, lun)
  if (lost && (!whole || [...above].some(({ raid }) => raid === 'raid0'))) return true
  return image.relations.some(({ number, invalid }) => {
    const given = invalid ? model.relations.get(number)?.image : undefined
    return given !== undefined && given !== lun && above.has(given)
  })
}

/** It was taken during an update whose image may have been given up. */
const mayBeDropped = (model: PoolModel, snapshot: LunModel, cut: number, troubled: boolean): boolean => {
  const above = upstream(model, snapshot)
  return [...model.relations.values()].some(
    relation => relation.updates.some(({ kind }) => above.has(relation.targetOf(kind))) && mayBeInvalid(relation, cut, troubled),
  )
}

/** Every snapshot that was asked for and answered is there, and holds what its volume held then, and what was written to it since. */
function holdSnapshots(image: PoolImage, expectation: Expectation, lost: boolean): void {
  const { model, cut } = expectation
  const found = new Map(image.snapshots.map(snapshot => [snapshot.label, snapshot]))
  for (const label of found.keys()) if (!model.snapshots.has(label)) throw new Error(`snapshot ${label} exists and was never asked for`)
  for (const [label, snapshot] of model.snapshots) {
    const there = found.get(label)
    const allowed = snapshot.entry.allowedAt(cut)
    if (!there) {
      if (!allowed.includes(undefined)) throw new Error(`snapshot ${label} is gone`)
      continue
    }
    if (!allowed.some(entry => entry?.size === there.size)) throw new Error(`snapshot ${label} of ${there.size} bytes exists, it must be ${describe(allowed)}`)
    if (there.writable !== snapshot.writable) throw new Error(`snapshot ${label} ${there.writable ? 'is' : 'is not'} writable`)
    if (there.dropped) {
      if (!snapshot.dropped && !mayBeDropped(model, snapshot, cut, expectation.troubled || lost))
        throw new Error(`snapshot ${label} was dropped without a reason`)
      continue
    }
    const options = { lost: mayBeLost(snapshot, image, expectation, lost), before: lost }
    snapshot.check(there.versions, 0, snapshot.allowedAt(cut, there.versions.length), atCut(cut), options)
  }
}

/** Relationships are as the model says; one was given up, or its volume left of two instants, only for a reason. */
function holdRelations(image: PoolImage, { model, cut, whole, troubled, full }: Expectation, lost: boolean): void {
  const gone = lost && !whole
  const found = new Map(image.relations.map(relation => [relation.number, relation]))
  for (const number of found.keys()) if (!model.relations.has(number)) throw new Error(`DcsSnap${number} exists and was never asked for`)
  for (const [number, relation] of model.relations) {
    const there = found.get(number)
    const state = there?.state ?? 'gone'
    if (!relation.allows(state, cut)) throw new Error(`DcsSnap${number} is ${state}, it must be ${relation.state.allowedAt(cut).join(' or ')}`)
    if (!there) continue
    if (there.invalid && !gone && !mayBeInvalid(relation, cut, troubled || lost))
      throw new Error(`DcsSnap${number} was given up without a reason: ${there.reason}`)
    const stopped = relation.mayStillBe('mixed', cut) || (relation.stopped !== undefined && relation.stopped.position < cut)
    if (there.mixed && !stopped && !gone && !mayFail(model, relation, { troubled: troubled || lost, full }))
      throw new Error(`an update of DcsSnap${number} ended before its end without a reason: ${there.reason}`)
  }
}

/** @throws Error where what was found is not what the model allows at the cut */
function hold(image: PoolImage, running: Running, expectation: Expectation, lost: boolean): void {
  const { model, cut, whole } = expectation
  const view = atCut(cut)
  const found = new Map(image.luns.map(lun => [lun.number, lun]))
  for (const [number, lun] of model.luns) {
    const there = found.get(number)
    const allowed = lun.entry.allowedAt(cut)
    if (!there) {
      if (!allowed.includes(undefined)) throw new Error(`LUN ${number} "${lun.name}" is gone, it must be ${describe(allowed)}`)
      continue
    }
    if (there.raid !== lun.raid) throw new Error(`LUN ${number} is ${there.raid}, it must be ${lun.raid}`)
    if (!allowed.some(entry => entry?.name === there.name && entry.size === there.size))
      throw new Error(`LUN ${number} is "${there.name}" of ${there.size} bytes, it must be ${describe(allowed)}`)
    const wild = lun.wild.allowedAt(cut)
    if (!wild.includes(there.useless)) throw new Error(`LUN ${number} "${there.name}" ${there.useless ? 'says' : 'does not say'} that it is of no use`)
    if (there.refused !== undefined || there.useless) continue
    const left = leftIn(model, lun, image.relations, cut)
    const sectors = there.versions.length
    const range = left.length > 0 ? lun.allowed(0, sectors, view, left) : lun.allowedAt(cut, sectors)
    lun.check(there.versions, 0, range, view, {
      lost: mayBeLost(lun, image, expectation, lost),
      before: lost,
      garbled: lun.raid === 'raid5' && (lost || !whole),
    })
  }
  holdSnapshots(image, expectation, lost)
  holdRelations(image, expectation, lost)
  const names = new Set(image.luns.map(({ name }) => name))
  if (names.size < image.luns.length) throw new Error('two LUNs have the same name')
  if (!model.comment.allowedAt(cut).includes(image.comment))
    throw new Error(`the comment is "${image.comment}", it must be ${JSON.stringify(model.comment.allowedAt(cut))}`)
  const count = running.parts.pool.disks.size
  if (!model.diskCount.allowedAt(cut).includes(count))
    throw new Error(`the pool has ${count} disks, it must have ${model.diskCount.allowedAt(cut).join(' or ')}`)
  for (const [number, history] of model.domains) {
    const domain = image.domains.get(number)
    if (domain !== undefined && !history.allowedAt(cut).includes(domain))
      throw new Error(`disk ${number} has domain "${domain}", it must be ${JSON.stringify(history.allowedAt(cut))}`)
  }
  for (const [number, history] of model.offline) {
    const offline = image.offline.get(number)
    if (offline !== undefined && !history.allowedAt(cut).includes(offline))
      throw new Error(`disk ${number} ${offline ? 'is' : 'is not'} offline, it must be ${history.allowedAt(cut).join(' or ')}`)
  }
}

const describe = (entries: readonly ({ name: string; size: number } | undefined)[]): string =>
  entries.map(entry => (entry ? `"${entry.name}" of ${entry.size} bytes` : 'absent')).join(' or ')

/** A view reads the same without writing anything. */
export async function inspectView(disks: readonly SimulatedDisk[], sources: Sources, model: PoolModel, image: PoolImage): Promise<void> {
  const view = await quick(disks, openPool(disks, sources, { view: true }), 'opening a view')
  const seen = await quick(disks, readPool(view, knownIn(model)), 'reading a view')
  // What was being reserved in the crash is not there any more once an owner has opened the pool.
  // Nor does a view do again what the parity log has.
  const told = (luns: PoolImage['luns']): PoolImage['luns'] => luns.filter(lun => !lun.reserving && lun.raid !== 'raid5')
  sameImage({ ...image, luns: told(image.luns) }, { ...seen, luns: told(seen.luns) }, 'in a view')
  await view.engine.close()
  for (const { name, counters } of disks) {
    if (counters.writes + counters.durables + counters.flushes + counters.punches + counters.zeros + counters.reserves > 0)
      throw new Error(`a view wrote to ${name}`)
  }
}

/**
 * A disk that was lost in the crash is found again after the pool was written without it: nothing that it missed is read from it,
 * and in the end every copy is equal.
 */
export async function inspectReturn(
  disks: readonly SimulatedDisk[],
  lostIndex: number,
  sources: Sources,
  expectation: Expectation,
  random: Random,
  counters: { version: number },
): Promise<void> {
  const isKnown = knownIn(expectation.model)
  const rest = disks.filter((_, i) => i !== lostIndex)
  let running = await quick(disks, openPool(rest, sources, { all: disks }), 'opening without a disk')
  await quick(disks, engineSettled(running), 'settling without a disk')
  await writeSome(running, expectation.model, random, counters)
  const before = await quick(disks, readPool(running, isKnown), 'reading without a disk')
  if (random.chance(0.5)) {
    const away = [...running.parts.pool.disks.values()].find(disk => !disk.device)
    if (away) await quick(disks, running.engine.call('disk.online', { disk: String(away.number) }), 'bringing a disk online')
  } else {
    await quick(disks, running.engine.close(), 'closing without a disk')
    running = await quick(disks, openPool(disks, sources), 'opening with the disk that was lost')
  }
  const { model } = expectation
  const redundant = ({ luns, snapshots, ...image }: PoolImage): PoolImage => ({
    ...image,
    luns: luns.filter(({ number }) => isRedundantThrough(model, model.luns.get(number))),
    snapshots: snapshots.filter(({ label }) => isRedundantThrough(model, model.snapshots.get(label))),
  })
  sameImage(redundant(before), redundant(await quick(disks, readPool(running, isKnown), 'reading')), 'with the disk that was lost')
  await quick(disks, engineSettled(running), 'settling with the disk that was lost')
  await checkSettled(running, 'with the disk that was lost', true)
  sameImage(redundant(before), redundant(await quick(disks, readPool(running, isKnown), 'reading')), 'with the disk that was lost, resynced')
  await quick(disks, running.engine.close(), 'closing')
}

const engineSettled = ({ engine }: Running): Promise<void> => engine.settled()

/** A LUN bears the loss of a disk, also of what it reads through a source. */
function isRedundantThrough(model: PoolModel, lun: LunModel | undefined): boolean {
  return lun !== undefined && [...upstream(model, lun)].every(({ raid }) => isRedundant(raid))
}

/** Overwrites parts of every LUN that bears the loss of a disk. */
async function writeSome(running: Running, model: PoolModel, random: Random, counters: { version: number }): Promise<void> {
  for (const lun of running.parts.luns.all) {
    const known = model.luns.get(lun.number)
    if (!known || !isRedundantThrough(model, known) || !isOpenable(running, lun)) continue
    const device = await running.engine.openLun(lun.name, { incomplete: true, mixed: true })
    const sectors = lun.size / SECTOR
    for (let i = 0; i < 3; i++) {
      const from = random.below(sectors)
      const to = Math.min(sectors, from + random.between(1, 700))
      try {
        await device.write(from * SECTOR, stampedData(known.uid, from, to, ++counters.version))
      } catch (error) {
        // Without the disk there may be no room for what an image needs, and too few disks to bind what was unbound.
        if (!isCode(error, 'ERR_POOL_FULL')) throw error
      }
    }
    if (random.chance(0.7)) await device.flush()
    await device.close()
  }
}

/** The pool may refuse to open when a lost disk leaves half of a small quorum, or less, or when the metadata had lost copies before. */
export function mayRefuse(life: Life, { cut, whole }: Expectation, error: unknown, lostId: string): boolean {
  if (hasCode(error, 'ERR_METADATA_DAMAGED')) return !whole
  if (!isCode(error, 'ERR_QUORUM_LOST')) return false
  const memberships = life.membersAt(cut)
  return memberships.length === 0 || memberships.some(members => members.includes(lostId) && (members.length - 1) * 2 <= members.length)
}

/** Whether an error, or what it came from, has a code. */
function hasCode(error: unknown, code: 'ERR_METADATA_DAMAGED'): boolean {
  for (let at = error; at instanceof Error; at = at.cause) if (isCode(at, code)) return true
  return false
}

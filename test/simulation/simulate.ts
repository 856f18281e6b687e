/** A whole simulation from one seed: lives of a pool, and the states that crashes leave of each. */
import { crc32c } from '../../src/core/base/crc32c.ts'
import { Random } from '../../src/core/base/random.ts'
import { KIB, SECTOR } from '../../src/core/base/units.ts'
import { CrashExplorer, describeCrash, type CrashState } from '../../src/core/block/crash-states.ts'
import type { SimulatedDisk } from '../../src/core/block/simulated.ts'
import type { SparsePages } from '../../src/core/block/sparse-pages.ts'
import { Tape } from '../../src/core/block/tape.ts'
import { readLabel } from '../../src/metadata/label.ts'
import { readPool, sameImage, type PoolImage } from './image.ts'
import { inspect, inspectReturn, inspectView, mayRefuse, quick, knownIn, type Depth, type Expectation } from './inspect.ts'
import { Counters, Life } from './life.ts'
import { diskNames, disksFrom, makePool, newSources, openPool, shapeOf, type Sources } from './machine.ts'
import { atCut, History, LunModel, PoolModel, type Moment } from './model.ts'
import { leftIn, RelationModel } from './relation-model.ts'
import { SnapshotModel } from './snapshot-model.ts'
import { textOf } from './text.ts'
import { createLun, work } from './work.ts'

// Checksums of single blocks are most of them: the native library is loaded from the start.
crc32c(new Uint8Array(64 * KIB))

export interface Bounds {
  /** Lives of each pool. */
  readonly lives: number
  /** Operations in a life. */
  readonly operations: number
  /** Cuts of a life, and states of each cut. */
  readonly cuts: number
  readonly states: number
  /** How often a state is looked at through and through: settled, closed, opened again. */
  readonly deep: number
  /** How often each of these is tried besides: a view, another crash during recovery, the loss of a disk. */
  readonly more: number
}

export interface Report {
  /** States that were opened. */
  states: number
  /** Different ones after an acknowledged flush. */
  readonly distinct: Set<string>
  readonly kinds: Set<string>
}

export const newReport = (): Report => ({ states: 0, distinct: new Set(), kinds: new Set() })

const START: Moment = { tick: 0, position: 0 }

/**
 * @param enough different states after an acknowledged flush, in the whole report, after which no other life is begun
 * @throws Error that names the seed and what to do to see it again
 */
export async function simulate(seed: number, bounds: Bounds, report: Report, enough = Infinity): Promise<void> {
  const random = new Random(seed)
  const shape = shapeOf(random, seed)
  const names = diskNames(shape)
  const { clock, uuids } = newSources(seed + 1)
  const sources: Sources = { clock, uuids }
  const counters = new Counters()
  let contents = await makePool(seed, shape)
  let model = emptyModel(names.length - 2)
  for (let number = 0; number < bounds.lives && report.distinct.size < enough; number++) {
    const life = new Life(random, contents, names, model, counters, sources, new Random(random.u32()), shape)
    let doing = `life ${number}`
    try {
      await live(life, bounds.operations, number === 0)
      doing = `after life ${number}`
      const next = await explore(life, bounds, report, `${seed}.${number}`, sources, counters)
      contents = next.contents
      model = next.model
    } catch (error) {
      throw new Error(
        [
          `seed ${seed}, ${doing} (${JSON.stringify(shape)}): ${textOf(error)}`,
          `again: SEED=${seed} npx vitest run test/simulation/replay.test.ts`,
          'what was done:',
          ...life.log.map(line => `  ${line}`),
        ].join('\n'),
        { cause: error },
      )
    }
  }
}

function emptyModel(disks: number): PoolModel {
  return new PoolModel(new History('', START), new History(disks, START))
}

/** Opens the pool and works on it until it crashes or is closed. */
async function live(life: Life, operations: number, first: boolean): Promise<void> {
  const { random } = life
  await life.open()
  if (first) for (let i = 0; i < 3; i++) createLun(life)
  const width = random.pick([1, 3, 8])
  const half = random.between(Math.floor(operations / 3), operations)
  await work(life, half, width)
  if (random.chance(0.25)) {
    await life.reopen()
  }
  if (half < operations) await work(life, operations - half, width)
  if (random.chance(0.2)) return life.close()
  const early = random.chance(0.5) ? 0 : random.between(1, 2)
  if (early > 0) {
    life.start('the first disk stops', () => Promise.resolve())
  }
  await life.crash(early)
}

/** Opens the states of a life's crashes. @returns one of them, to go on from */
async function explore(
  life: Life,
  bounds: Bounds,
  report: Report,
  name: string,
  sources: Sources,
  counters: Counters,
): Promise<{ contents: SparsePages[]; model: PoolModel }> {
  const { random, tape } = life
  const cuts = Array.from({ length: bounds.cuts }, () => random.between(1, tape.length)).sort((a, b) => a - b)
  cuts.push(tape.length)
  const chosen = random.between(Math.floor(cuts.length / 2), cuts.length - 1)
  const explorer = new CrashExplorer(tape)
  let next: { contents: SparsePages[]; model: PoolModel } | undefined
  for (const [i, cut] of cuts.entries()) {
    explorer.at(cut)
    const seen = new Set<number>()
    for (let drawn = 0; drawn < bounds.states * 2 && seen.size < bounds.states; drawn++) {
      const state = explorer.state(random, { steady: true })
      // The same again tells nothing.
      if (seen.has(state.hash)) continue
      seen.add(state.hash)
      const contents = state.disks.map(disk => disk.snapshot())
      try {
        const image = await inspectState(life, state, report, name, sources, counters, random.chance(bounds.deep) ? 'reopen' : 'read', bounds.more)
        if (i === chosen && drawn === 0) next = { contents, model: modelAfter(life, cut, image) }
      } catch (error) {
        throw new Error(`${textOf(error)}\n${describeCrash(state)}\nlast events before it:\n${lastEvents(life, cut)}`, { cause: error })
      }
    }
  }
  return next!
}

/** For messages: what the disks were asked shortly before a cut. */
function lastEvents({ tape, names }: { tape: Tape; names: readonly string[] }, cut: number): string {
  const lines = tape.events.slice(Math.max(0, cut - 60), cut).map((event, i) => {
    const at = Math.max(0, cut - 60) + i
    if ('change' in event)
      return `  ${at} ${event.kind} ${names[event.change.disk]} ${event.change.kind} ${event.change.offset}+${event.change.length}, issued at ${event.change.issuedAt}`
    return `  ${at} ${event.kind} ${event.kind === 'mark' ? event.label : names[event.disk]}`
  })
  return lines.join('\n')
}

async function inspectState(
  life: Life,
  state: CrashState,
  report: Report,
  name: string,
  sources: Sources,
  counters: Counters,
  depth: Depth,
  more: number,
): Promise<PoolImage> {
  const { random } = life
  const { cut } = state
  const expectation: Expectation = {
    model: life.model,
    cut,
    whole: life.wholeUntil(cut),
    troubled: life.troubledUntil(cut),
    full: life.fullUntil(cut),
  }
  const contents = state.disks.map(disk => disk.snapshot())
  const fresh = (): SimulatedDisk[] => disksFrom(contents, life.names, { steady: true })
  report.states++
  if (state.acknowledged > 0) report.distinct.add(`${name}.${state.hash}`)
  const { image, kinds } = await inspect(state.disks, sources, expectation, depth)
  for (const kind of kinds) report.kinds.add(kind)
  if (random.chance(more)) await inspectView(fresh(), sources, life.model, image)
  if (random.chance(more)) await crashAgain(life, contents, sources, image, expectation, 5)
  if (random.chance(more * 2)) await loseOne(life, fresh, sources, expectation, counters, random.chance(0.3))
  return image
}

/** The recovery of a state is cut off by another crash, and that of what is left then, again and again (fault invariant I6). */
async function crashAgain(
  life: Life,
  contents: readonly SparsePages[],
  sources: Sources,
  image: PoolImage,
  expectation: Expectation,
  times: number,
): Promise<void> {
  const { random, names } = life
  const disks = disksFrom(contents, names)
  const tape = new Tape(disks)
  const running = await quick(disks, openPool(disks, sources), 'opening')
  const reading = readPool(running, knownIn(expectation.model))
  sameImage(image, await quick(disks, reading, 'reading'), 'opened another time')
  if (random.chance(0.8)) await quick(disks, running.engine.settled(), 'settling')
  if (random.chance(0.3)) await quick(disks, running.engine.close(), 'closing')
  tape.stop()
  const state = new CrashExplorer(tape).at(random.between(0, tape.length)).state(random, { steady: true })
  const left = state.disks.map(disk => disk.snapshot())
  try {
    const again = await inspect(state.disks, sources, expectation, times === 1 ? 'reopen' : 'read')
    sameImage(image, again.image, 'after a crash during recovery')
  } catch (error) {
    throw new Error(
      `recovery cut off ${6 - times} times: ${textOf(error)}\n${describeCrash(state)}\nlast events before it:\n${lastEvents({ tape, names }, state.cut)}\n`,
      { cause: error },
    )
  }
  if (times > 1) await crashAgain(life, left, sources, image, expectation, times - 1)
}

/** One disk is lost in the same crash. */
async function loseOne(
  life: Life,
  fresh: () => SimulatedDisk[],
  sources: Sources,
  expectation: Expectation,
  counters: Counters,
  comesBack: boolean,
): Promise<void> {
  const { random, names } = life
  const disks = fresh()
  const lost = random.below(names.length)
  const report = await readLabel(disks[lost]!)
  if (report.kind !== 'label') return
  try {
    await inspect(
      disks.filter((_, i) => i !== lost),
      sources,
      expectation,
      random.chance(0.3) ? 'reopen' : 'read',
      true,
    )
    if (comesBack && expectation.whole) await inspectReturn(fresh(), lost, sources, expectation, random, counters)
  } catch (error) {
    if (mayRefuse(life, expectation, error, report.label.diskId)) return
    throw new Error(`without ${names[lost]}: ${textOf(error)}`, { cause: error })
  }
}

/** What must be found from now on, given what was found in the state that the next life begins with. */
function modelAfter(life: Life, cut: number, image: PoolImage): PoolModel {
  const model = new PoolModel(new History(image.comment, START), new History(image.domains.size, START))
  for (const [number, domain] of image.domains) model.domains.set(number, new History(domain, START))
  for (const [number, offline] of image.offline) model.offline.set(number, new History(offline, START))
  for (const { number, name, size, raid, versions, refused, useless } of image.luns) {
    const old = life.model.luns.get(number)!
    const left = leftIn(life.model, old, image.relations, cut)
    const before = left.length > 0 ? old.allowed(0, size / SECTOR, atCut(cut), left) : old.allowedAt(cut, size / SECTOR)
    const lun = new LunModel(old.uid, raid, { name, size }, START, { versions, before }, useless, old.tornAt(atCut(cut)))
    // What cannot be read now is still what it was when it can be.
    if (refused !== undefined)
      lun.changes.push({
        what: 'before the crash',
        from: 0,
        to: size / SECTOR,
        version: { pieces: before },
        begun: START,
        ended: START,
        done: true,
        durable: START,
      })
    model.luns.set(number, lun)
  }
  const parentOf = (old: LunModel): LunModel => {
    if (!(old instanceof SnapshotModel)) return [...model.luns.values()].find(({ uid }) => uid === old.uid)!
    const known = model.snapshots.get(old.label)
    if (known) return known
    // Deleted, and hidden for what rests on it.
    const hidden = new SnapshotModel(old.uid, old.label, parentOf(old.parent), old.size, old.writable, false, START, old.base, old.frozen)
    model.snapshots.set(old.label, hidden)
    return hidden
  }
  for (const { label, versions, size, dropped } of image.snapshots) {
    const old = life.model.snapshots.get(label)!
    const base = { versions, before: old.allowedAt(cut, size / SECTOR) }
    model.snapshots.set(label, new SnapshotModel(old.uid, label, parentOf(old.parent), size, old.writable, true, START, base, old.frozen, dropped))
  }
  for (const found of image.relations) {
    const old = life.model.relations.get(found.number)!
    const [source, lun] = [model.luns.get(found.source)!, model.luns.get(found.image)!]
    const was = { invalid: found.invalid, mixed: found.mixed !== undefined }
    const relation = new RelationModel(found.number, source, lun, old.policy, found.state, START, was)
    // It may still be under way; where it was left half way, what it left was found.
    const update = old.updateAt(cut)
    if (update && (!was.mixed || found.update === update.kind)) relation.updates.push({ kind: update.kind, before: update.before, begun: START, ended: START })
    model.relations.set(found.number, relation)
  }
  return model
}

/** Random operations on relationships, beside everything else that happens to a pool. */
import type { ErrorCode } from '../../src/core/base/error-table.ts'
import { isCode } from '../../src/core/base/errors.ts'
import { KIB, MIB, SECTOR } from '../../src/core/base/units.ts'
import type { Life } from './life.ts'
import { Copied, type Change, type LunModel, type Moment } from './model.ts'
import { ZERO } from './stamps.ts'
import { RelationModel, type RelationState, type UpdateBegun, type UpdateName } from './relation-model.ts'

const RELATIONS_MAX = 4
const chunkSizes = [4 * KIB, 16 * KIB, 32 * KIB, 64 * KIB, 256 * KIB, MIB]

/** After these nothing has changed: other states, other users, other updates are in the way. */
const refusals: readonly ErrorCode[] = [
  'ERR_RELATIONSHIP_STATE',
  'ERR_IN_RELATIONSHIP',
  'ERR_HAS_SNAPSHOTS',
  'ERR_IMAGE_INCOMPLETE',
  'ERR_IMAGE_INVALID',
  'ERR_INCOMPLETE',
  'ERR_LOST_PART',
  'ERR_MIXED',
  'ERR_BUSY',
  'ERR_POOL_FULL',
  'ERR_METADATA_FULL',
]
const isRefusal = (error: unknown): boolean => refusals.some(code => isCode(error, code))

/** How often each is drawn. */
export const relationOperations: readonly (readonly [number, (life: Life) => boolean])[] = [
  [7, configure],
  [8, enable],
  [3, disable],
  [1.5, unconfigure],
  [3, complete],
  [5, update],
  [2, stop],
  [1, pauseOrResume],
  [1, setDelay],
]

const START: Moment = { tick: 0, position: 0 }

/** One change at a time of the relationships of a LUN: which contents become whose depends on their order. */
export function relating(life: Life, what: string, luns: readonly LunModel[], run: () => Promise<void>): void {
  for (const lun of luns) lun.relating = true
  life.start(what, async () => {
    try {
      life.noteMixed()
      await run()
    } finally {
      for (const lun of luns) lun.relating = false
    }
  })
}

const isIdle = (lun: LunModel): boolean => !lun.changing && !lun.relating

/** Relationships that nothing changes now. */
const idle = (life: Life): RelationModel[] =>
  [...life.model.relations.values()].filter(
    relation =>
      relation.state.last !== 'gone' &&
      isIdle(relation.source) &&
      isIdle(relation.image) &&
      life.running.parts.relationships.all.some(({ number }) => number === relation.number),
  )

const pickRelation = (life: Life, ...states: readonly RelationState[]): RelationModel | undefined => {
  const relations = idle(life).filter(({ state }) => states.length === 0 || states.includes(state.last))
  return relations.length === 0 ? undefined : life.random.pick(relations)
}

const labelOf = ({ number, source, image }: RelationModel): string => `DcsSnap${number} ${source.name}>${image.name}`
const sectorsOf = (life: Life, { number }: RelationModel): number =>
  life.running.parts.relationships.all.find(relationship => relationship.number === number)!.record.size / SECTOR

function configure(life: Life): boolean {
  const { random, model, running } = life
  if ([...model.relations.values()].filter(({ exists }) => exists).length >= RELATIONS_MAX || configuring.has(life)) return false
  const luns = model.live.filter(lun => isIdle(lun) && !lun.wild.last)
  const images = luns.filter(lun => ![...model.relations.values()].some(({ image, exists }) => exists && image === lun))
  if (images.length === 0) return false
  const image = random.pick(images)
  const sources = luns.filter(lun => lun !== image && lun.sectors <= image.sectors)
  if (sources.length === 0) return false
  const source = random.pick(sources)
  const chunkBytes = random.pick(chunkSizes)
  const policy = random.chance(0.3) ? 'drop' : 'fail-writes'
  const number = Math.max(1, running.parts.pool.record.nextRelationship)
  const relation = new RelationModel(number, source, image, policy, 'gone', START)
  configuring.add(life)
  relating(life, `configure ${labelOf(relation)}, chunks of ${chunkBytes}, ${policy}`, [source, image], async () => {
    const now = life.now()
    const entry = relation.state.begin('idle', now)
    model.relations.set(number, relation)
    try {
      await running.engine.call('snap.configure', { source: source.name, image: image.name, chunkBytes, policy })
      entry.acked = life.now()
    } catch (error) {
      if (isRefusal(error)) relation.state.refuse(entry)
      else life.refused(error)
    } finally {
      configuring.delete(life)
    }
  })
  return true
}
/** Numbers are given in turn. */
const configuring = new WeakSet<Life>()

/** Its contents become those of another LUN, at some moment of a call that begins now. */
function becomes(lun: LunModel, what: string, from: LunModel, sectors: number, begun: Moment): Change {
  const change: Change = { what, from: 0, to: sectors, version: new Copied(from, sectors, begun), begun }
  lun.changes.push(change)
  return change
}

/** Its end becomes zeros at some moment of a call that begins now. */
function blanked(lun: LunModel, from: number, begun: Moment): Change {
  const change: Change = { what: 'enable, behind the source', from, to: lun.sectors, version: ZERO, begun }
  lun.changes.push(change)
  return change
}

/** The call has returned: the contents are known, and durable when it returned well. */
function ended(change: Change, now: Moment, well: boolean): void {
  if (change.version instanceof Copied) change.version.freeze()
  change.ended = now
  if (!well) return
  change.done = true
  change.durable = now
}

function dropped(lun: LunModel, change: Change): void {
  lun.changes.splice(lun.changes.indexOf(change), 1)
}

function enable(life: Life): boolean {
  const { random, running } = life
  const relations = idle(life)
  if (relations.length === 0) return false
  const waiting = relations.filter(({ state }) => state.last !== 'enabled')
  const chosen = random.shuffle(waiting.length > 0 && random.chance(0.7) ? waiting : relations).slice(0, random.chance(0.25) ? 2 : 1)
  const anew = random.chance(0.4)
  const forceLostPart = random.chance(0.7)
  const luns = [...new Set(chosen.flatMap(({ source, image }) => [source, image]))]
  relating(life, `enable ${anew ? 'anew ' : ''}${chosen.map(labelOf).join(', ')}`, luns, async () => {
    const begun = life.now()
    const plans = chosen.map(relation => {
      const fresh = anew || relation.state.last === 'idle'
      const change = fresh || relation.state.last === 'partial' ? becomes(relation.image, 'enable', relation.source, relation.source.sectors, begun) : undefined
      // Behind the end of its source a new instant is zeros.
      const behind = fresh && relation.image.sectors > relation.source.sectors ? blanked(relation.image, relation.source.sectors, begun) : undefined
      return {
        relation,
        fresh,
        change,
        behind,
        entry: relation.state.begin('enabled', begun),
        renewed: fresh ? relation.asFound.begin(false, begun) : undefined,
      }
    })
    try {
      const { data } = await running.engine.call('snap.enable', {
        relationships: chosen.map(({ number }) => String(number)),
        fresh: anew,
        forceLostPart,
        forceMixed: true,
      })
      const now = life.now()
      for (const { relation, fresh, change, behind, entry, renewed } of plans) {
        const { changed, lost } = data.find(({ number }) => number === relation.number)!
        if (!changed) {
          relation.state.refuse(entry)
          if (renewed) relation.asFound.refuse(renewed)
          for (const one of [change, behind]) if (one) dropped(relation.image, one)
          continue
        }
        if (behind) ended(behind, now, true)
        entry.acked = now
        for (const lun of [relation.source, relation.image]) lun.flushed(begun, now)
        if (renewed) renewed.acked = now
        if (!change) continue
        ended(change, now, true)
        if (fresh) continue
        // Only what was lost of the image is the source's now.
        dropped(relation.image, change)
        for (const { offset, length } of lost) relation.image.changes.push({ ...change, from: offset / SECTOR, to: (offset + length) / SECTOR })
      }
    } catch (error) {
      const refused = isRefusal(error)
      if (!refused) life.refusedBy(error, luns)
      for (const { relation, change, behind, entry, renewed } of plans) {
        if (refused) relation.state.refuse(entry)
        if (refused && renewed) relation.asFound.refuse(renewed)
        for (const one of [change, behind]) {
          if (one && refused) dropped(relation.image, one)
          else if (one) ended(one, life.now(), false)
        }
      }
    }
  })
  return true
}

function disable(life: Life): boolean {
  const { random, running } = life
  const first = pickRelation(life, 'enabled')
  if (!first) return false
  const second = random.chance(0.2) ? idle(life).find(relation => relation !== first) : undefined
  const chosen = second ? [first, second] : [first]
  const luns = [...new Set(chosen.flatMap(({ source, image }) => [source, image]))]
  relating(life, `disable ${chosen.map(labelOf).join(', ')}`, luns, async () => {
    const begun = life.now()
    const entries = chosen.map(relation => ({ relation, entry: relation.state.begin('disabled', begun) }))
    try {
      const { data } = await running.engine.call('snap.disable', { relationships: chosen.map(({ number }) => String(number)) })
      const now = life.now()
      for (const { relation, entry } of entries) {
        const { changed, complete: whole } = data.find(({ number }) => number === relation.number)!
        if (!changed) {
          relation.state.refuse(entry)
          continue
        }
        entry.value = whole ? 'complete' : 'partial'
        entry.acked = now
        for (const lun of [relation.source, relation.image]) lun.flushed(begun, now)
      }
    } catch (error) {
      if (isRefusal(error)) for (const { relation, entry } of entries) relation.state.refuse(entry)
      else life.refusedBy(error, luns)
    }
  })
  return true
}

function unconfigure(life: Life): boolean {
  const relation = pickRelation(life, 'idle', 'partial', 'complete')
  if (!relation) return false
  const { source, image, number } = relation
  relating(life, `unconfigure ${labelOf(relation)}`, [source, image], async () => {
    const begun = life.now()
    const partial = relation.state.last === 'partial'
    const entry = relation.state.begin('gone', begun)
    // An image that owns only some of its chunks is of no use as a LUN.
    const wild = partial ? image.wild.begin(true, begun) : undefined
    try {
      await life.running.engine.call('snap.unconfigure', { relationship: String(number) })
      entry.acked = life.now()
      if (wild) wild.acked = entry.acked
    } catch (error) {
      if (!isRefusal(error)) return life.refused(error)
      relation.state.refuse(entry)
      if (wild) image.wild.refuse(wild)
    }
  })
  return true
}

function complete(life: Life): boolean {
  const relation = pickRelation(life, 'enabled')
  if (!relation) return false
  relating(life, `complete ${labelOf(relation)}`, [relation.source, relation.image], async () => {
    try {
      await life.running.engine.call('snap.start', { relationship: String(relation.number), kind: 'completeImage' })
    } catch (error) {
      if (!isRefusal(error)) life.refusedBy(error, [relation.source, relation.image])
    }
  })
  return true
}

function update(life: Life): boolean {
  const relation = pickRelation(life, 'enabled')
  if (!relation) return false
  const kind: UpdateName = life.random.chance(0.5) ? 'imageUpdate' : 'sourceUpdate'
  const target = relation.targetOf(kind)
  const from = kind === 'imageUpdate' ? relation.source : relation.image
  relating(life, `${kind} ${labelOf(relation)}`, [relation.source, relation.image], async () => {
    const begun = life.now()
    const sectors = sectorsOf(life, relation)
    const before = target.allowed(0, sectors, { begun: () => true, settled: change => change.done === true })
    const change = becomes(target, kind, from, sectors, begun)
    const updating: UpdateBegun = { kind, before, begun }
    relation.updates.push(updating)
    try {
      const { data } = await life.running.engine.call('snap.start', { relationship: String(relation.number), kind })
      const now = life.now()
      if (!data.changed) {
        relation.updates.splice(relation.updates.indexOf(updating), 1)
        return dropped(target, change)
      }
      for (const lun of [relation.source, relation.image]) lun.flushed(begun, now)
      updating.ended = now
      ended(change, now, true)
    } catch (error) {
      if (isRefusal(error)) {
        relation.updates.splice(relation.updates.indexOf(updating), 1)
        return dropped(target, change)
      }
      ended(change, life.now(), false)
      life.refusedBy(error, [relation.source, relation.image])
    }
  })
  return true
}

const processNames = ['completeImage', 'imageUpdate', 'sourceUpdate'] as const

function stop(life: Life): boolean {
  const { random, running } = life
  const relation = pickRelation(life, 'enabled')
  if (!relation) return false
  const now = running.parts.relationships.all.find(({ number }) => number === relation.number)
  const kind = now?.update ?? (now?.isCompleting ? 'completeImage' : random.pick(processNames))
  relating(life, `stop ${kind} ${labelOf(relation)}`, [relation.source, relation.image], async () => {
    relation.stopped ??= life.now()
    try {
      await running.engine.call('snap.stop', { relationship: String(relation.number), kind })
    } catch (error) {
      if (!isRefusal(error)) life.refusedBy(error, [relation.source, relation.image])
    }
  })
  return true
}

function pauseOrResume(life: Life): boolean {
  const { random, running } = life
  life.start('pause or resume a task', async () => {
    const { data } = await running.engine.call('task.list', {})
    const tasks = data.filter(({ kind, state }) => processNames.some(name => name === kind) && ['running', 'paused'].includes(state))
    if (tasks.length === 0) return
    const { number, state } = random.pick(tasks)
    const verb = state === 'paused' || random.chance(0.2) ? 'task.resume' : 'task.pause'
    life.note(`${verb} ${number}`)
    try {
      await running.engine.call(verb, { task: number })
    } catch (error) {
      // It ended meanwhile.
      if (!isCode(error, 'ERR_TASK_STATE')) life.refused(error)
    }
  })
  return true
}

function setDelay(life: Life): boolean {
  const relation = pickRelation(life)
  if (!relation) return false
  const { random } = life
  const delay = random.pick([0, 20, 'adaptive'] as const)
  relating(life, `set delay ${delay} ${labelOf(relation)}`, [relation.source, relation.image], async () => {
    try {
      await life.running.engine.call('snap.setDelay', { relationship: String(relation.number), kind: random.pick(processNames), delay })
    } catch (error) {
      if (!isRefusal(error)) life.refused(error)
    }
  })
  return true
}

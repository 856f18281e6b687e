/** What the relationships of a pool must be, and what their images hold besides. */
import type { Relationship } from '../../src/core/snapshot/relationship.ts'
import type { ProcessName } from '../../src/core/snapshot/relationships.ts'
import { updateKinds } from '../../src/metadata/records.ts'
import { History, type Allowed, type Change, type LunModel, type Moment, type PoolModel } from './model.ts'
import { SnapshotModel } from './snapshot-model.ts'

/** `partial` and `complete`: disabled, and what of the image is its own; `disabled` is one of them, and the call has not said which. */
export type RelationState = 'gone' | 'idle' | 'enabled' | 'disabled' | 'partial' | 'complete'

/** A relationship as a pool has it. */
export interface RelationFound {
  readonly number: number
  readonly source: number
  readonly image: number
  readonly state: Exclude<RelationState, 'gone' | 'disabled'>
  readonly invalid: boolean
  /** The update that left a volume of two instants. */
  readonly mixed: UpdateName | undefined
  readonly update: UpdateName | undefined
  /** Why it is invalid or mixed. */
  readonly reason: string
}

export type UpdateName = Exclude<ProcessName, 'completeImage'>

/** An update that was started: what the volume it writes held before, as long as it may not come to its end. */
export interface UpdateBegun {
  readonly kind: UpdateName
  readonly before: readonly Allowed[]
  readonly begun: Moment
  ended?: Moment
  /** That it was left half way is among the changes of its volume. */
  noted?: boolean
}

export class RelationModel {
  readonly state: History<RelationState>
  /** What it was found with counts until it is enabled anew. */
  readonly asFound: History<boolean>
  /** In the order in which they were asked for. */
  readonly updates: UpdateBegun[] = []
  /** An update was asked to stop from here on. */
  stopped: Moment | undefined

  constructor(
    readonly number: number,
    readonly source: LunModel,
    readonly image: LunModel,
    /** What a full pool does. */
    readonly policy: 'fail-writes' | 'drop',
    state: RelationState,
    start: Moment,
    /** It was found so when the record began. */
    private readonly was: { readonly invalid: boolean; readonly mixed: boolean } = { invalid: false, mixed: false },
  ) {
    this.state = new History(state, start)
    this.asFound = new History(true, start)
  }

  /** It is there, or may be. */
  get exists(): boolean {
    return this.state.last !== 'gone' || this.state.allowedAt(Infinity).some(state => state !== 'gone')
  }
  /** It was there at some time on record: a crash may show it. */
  get existed(): boolean {
    return this.state.everHad(state => state !== 'gone')
  }
  get busy(): boolean {
    return this.source.relating || this.image.relating
  }

  /** The last one asked for before a cut. */
  updateAt(cut: number): UpdateBegun | undefined {
    return this.updates.findLast(({ begun }) => begun.position < cut || begun.tick === 0)
  }

  /** What it was found with may still be there at a cut. */
  mayStillBe(what: 'invalid' | 'mixed', cut: number): boolean {
    return this.was[what] && this.asFound.allowedAt(cut).includes(true)
  }

  targetOf(kind: UpdateName): LunModel {
    return kind === 'imageUpdate' ? this.image : this.source
  }

  /** What a found relationship may be: the same state, or one whose outcome nobody was told. */
  allows(found: RelationState, cut: number): boolean {
    return this.state.allowedAt(cut).some(state => state === found || (state === 'disabled' && (found === 'partial' || found === 'complete')))
  }
}

export function foundRelation(relationship: Relationship): RelationFound {
  const { number, record } = relationship
  const mixed = relationship.isMixed ? updateKinds[record.mixed] : undefined
  return {
    number,
    source: record.source,
    image: record.image,
    state: !relationship.isUsed ? 'idle' : relationship.isEnabled ? 'enabled' : relationship.isComplete ? 'complete' : 'partial',
    invalid: relationship.isInvalid,
    mixed: mixed === 'none' ? undefined : mixed,
    update: relationship.update,
    reason: record.reason,
  }
}

/** All LUNs whose bytes this one's may be: sources of sources, and images that sources were updated from. */
export function upstream(model: PoolModel, lun: LunModel): Set<LunModel> {
  const found = new Set([lun])
  for (const one of found) {
    if (one instanceof SnapshotModel) found.add(one.parent)
    for (const relation of model.relations.values()) {
      if (!relation.existed) continue
      if (relation.image === one) found.add(relation.source)
      if (relation.source === one && relation.updates.some(({ kind }) => kind === 'sourceUpdate')) found.add(relation.image)
    }
  }
  return found
}

/** What an update that did not come to its end has left in a volume at a cut. */
export function leftIn(model: PoolModel, lun: LunModel, found: readonly RelationFound[], cut = Infinity): Change[] {
  const left: Change[] = []
  for (const { number, mixed } of found) {
    const relation = model.relations.get(number)
    const update = relation?.updateAt(cut)
    if (!mixed || update?.kind !== mixed || relation!.targetOf(mixed) !== lun) continue
    left.push(leftBy(update, update.begun))
  }
  return left
}

/** Never done: what was there before the update counts until something else is. */
export const leftBy = ({ kind, before, ended }: UpdateBegun, begun: Moment): Change => ({
  what: `left by ${kind}`,
  from: 0,
  to: before.at(-1)?.to ?? 0,
  version: { pieces: before },
  begun,
  ...(ended ? { ended } : {}),
})

/** The image may have been given up: it could not take a copy. */
export const mayBeInvalid = (relation: RelationModel, cut: number, troubled: boolean): boolean =>
  relation.mayStillBe('invalid', cut) || relation.policy === 'drop' || (troubled && relation.image.raid === 'raid0')

/** An update may fail by itself. */
export function mayFail(model: PoolModel, { source, image }: RelationModel, { troubled, full }: { troubled: boolean; full: boolean }): boolean {
  return full || (troubled && [...upstream(model, source), ...upstream(model, image)].some(({ raid }) => raid === 'raid0'))
}

/** Snapshots of a pool: LUNs of the model whose first contents are those that another had at one moment. */
import { SECTOR } from '../../src/core/base/units.ts'
import { Copied, LunModel, type Change, type Contents, type Moment, type Start } from './model.ts'

const NOTHING: Start = { versions: new Uint32Array(0), before: [] }

export class SnapshotModel extends LunModel {
  constructor(
    uid: number,
    /** Never that of two snapshots. */
    readonly label: string,
    /** What its tree is of: a LUN or a writable snapshot. */
    readonly parent: LunModel,
    readonly size: number,
    readonly writable: boolean,
    exists: boolean,
    start: Moment,
    base: Start,
    /** What it held when it was taken, and holds again when it is refreshed; undefined until it is asked for. */
    public frozen: Contents | undefined,
    /** It was found so when the record began. */
    readonly dropped = false,
  ) {
    super(uid, parent.raid, exists ? { name: label, size } : undefined, start, base)
  }

  /** One that is being asked for. */
  static taken(uid: number, parent: LunModel, size: number, writable: boolean): SnapshotModel {
    return new SnapshotModel(uid, `s${uid}`, parent, size, writable, false, { tick: 0, position: 0 }, NOTHING, undefined)
  }

  override get isFrozen(): boolean {
    return !this.writable
  }

  override get name(): string {
    // Also while somebody asks for its volume to be deleted, in vain.
    const volume = this.parent instanceof SnapshotModel ? this.parent.name : this.parent.entry.lastDefined!.name
    return `${volume}@${this.label}`
  }

  /** Its contents become those of a volume, at some moment of a call that begins now. */
  takes(from: LunModel, sectors: number, begun: Moment): Change {
    this.frozen = new Copied(from, sectors, begun)
    return this.holdsFrozen('taken', begun)
  }

  /** Its contents become what it was taken of, in a call that begins now. */
  holdsFrozen(what: string, begun: Moment): Change {
    const change: Change = { what, from: 0, to: this.size / SECTOR, version: this.frozen!, begun }
    this.changes.push(change)
    return change
  }
}

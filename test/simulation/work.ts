/** Random operations on a living pool: what clients and operators do, several at once. */
import { isCode } from '../../src/core/base/errors.ts'
import { KIB, MIB, SECTOR } from '../../src/core/base/units.ts'
import type { Params } from '../../src/core/server/api.ts'
import type { Life } from './life.ts'
import { isOpenable } from './image.ts'
import { pass } from './machine.ts'
import { History, LunModel, type LunEntry } from './model.ts'
import { relationOperations } from './relation-work.ts'
import { pickSnapshot, snapshotOperations } from './snapshot-work.ts'
import { stampedData, ZERO } from './stamps.ts'

const SLICE_SECTORS = MIB / SECTOR
/** Bytes of all LUNs together: what reading a crash state costs. */
const LUNS_SIZE_MAX = 20 * MIB
const LUNS_MAX = 4
/** Of a LUN of a pool with relationships, when it is made. MiB. */
const RELATED_MAX = 5

/** Starts an operation, or returns false when there is nothing to do it on. */
type Operation = (life: Life) => boolean

/** How often each is drawn. */
const operations: readonly (readonly [number, Operation])[] = [
  [30, write],
  [4, zero],
  [5, trim],
  [8, read],
  [12, flush],
  [5, createLun],
  [2, deleteLun],
  [2, renameLun],
  [3, growLun],
  [3, shrinkLun],
  [1.5, setComment],
  [1, labelDisk],
  [1, addDisk],
  [2, offlineDisk],
  [5, onlineDisk],
  [2, checkpoint],
  [4, closeSlices],
  [1.5, breakDisk],
  [3, mendDisk],
  [1, passTime],
]
const withRelations = [...operations, ...relationOperations]
const withSnapshots: typeof operations = [
  ...withRelations,
  ...snapshotOperations,
  [
    8,
    life =>
      writeTo(
        life,
        pickSnapshot(life, ({ writable }) => writable),
      ),
  ],
  [
    1,
    life =>
      zeroIn(
        life,
        pickSnapshot(life, ({ writable }) => writable),
      ),
  ],
  [
    6,
    life =>
      readFrom(
        life,
        pickSnapshot(life, () => true),
      ),
  ],
  [
    2,
    life =>
      flushOf(
        life,
        pickSnapshot(life, ({ writable }) => writable),
      ),
  ],
]
const totalOf = (list: typeof operations): number => list.reduce((sum, [weight]) => sum + weight, 0)
const totals = new Map([operations, withRelations, withSnapshots].map(list => [list, totalOf(list)]))

function draw({ random, shape }: Life): Operation {
  const list = shape.snapped ? withSnapshots : shape.related ? withRelations : operations
  let at = random.fraction() * totals.get(list)!
  for (const [weight, operation] of list) if ((at -= weight) < 0) return operation
  return write
}

/** Starts `count` operations, at most `width` at a time, in an order and at moments that the seed decides. */
export async function work(life: Life, count: number, width: number): Promise<void> {
  for (let done = 0; done < count;) {
    life.check()
    if (life.running.parts.pool.metadata.failure) return
    if (life.flying < width && draw(life)(life)) done++
    else await pass(1)
    if (life.random.chance(0.4)) await pass(life.random.below(12))
  }
}

/** Hosts may have it now. */
function isUsable({ model, running }: Life, lun: LunModel): boolean {
  if (model.relations.size === 0 || lun.wild.last) return !lun.wild.last
  const found = running.parts.luns.all.find(({ name }) => name === lun.name)
  return found !== undefined && isOpenable(running, found)
}

const pickLun = (life: Life, idle: boolean): LunModel | undefined => {
  const luns = life.model.live.filter(lun => !lun.changing && (idle ? lun.users === 0 && !lun.relating : isUsable(life, lun)))
  return luns.length === 0 ? undefined : life.random.pick(luns)
}

// ---- data

/** A range of a LUN, in sectors: mostly small, sometimes across several stores, often where something was written before. */
function pickRange(life: Life, lun: LunModel, most = 9 * MIB): { from: number; to: number } {
  const { random } = life
  const limit = lun.sectors
  const kind = random.below(20)
  let length =
    kind < 9
      ? random.between(1, 8)
      : kind < 13
        ? random.between(1, 2 * 64 * (KIB / SECTOR))
        : kind < 17
          ? random.between(1, 300 * (KIB / SECTOR))
          : kind < 19
            ? random.between(1, SLICE_SECTORS)
            : random.between(1, most / SECTOR)
  length = Math.min(length, limit)
  const near = lun.changes.length > 0 && random.chance(0.4) ? random.pick(lun.changes).from : random.below(limit)
  let from = Math.min(near, limit - length)
  if (random.chance(0.3)) from -= from % SLICE_SECTORS
  else if (random.chance(0.3)) from -= from % 8
  return { from, to: from + length }
}

/** Nobody writes to the range now; now and then a range that somebody writes to is taken all the same, and either may win. */
function isFree(life: Life, lun: LunModel, { from, to }: { from: number; to: number }): boolean {
  return !lun.changes.some(change => change.ended === undefined && change.from < to && from < change.to) || life.random.chance(0.1)
}

function write(life: Life): boolean {
  return writeTo(life, pickLun(life, false))
}
function zero(life: Life): boolean {
  return zeroIn(life, pickLun(life, false))
}
function read(life: Life): boolean {
  return readFrom(life, pickLun(life, false))
}
function flush(life: Life): boolean {
  return flushOf(life, pickLun(life, false))
}

function writeTo(life: Life, lun: LunModel | undefined): boolean {
  if (!lun) return false
  const range = pickRange(life, lun)
  if (!isFree(life, lun, range)) return false
  const version = ++life.counters.version
  const flushed = life.random.chance(0.15)
  life.start(`write ${lun.name} ${range.from}-${range.to} version ${version}`, async () => {
    await life.change(lun, 'write', { ...range, version }, async () => {
      const device = await life.running.engine.openLun(lun.name, { mixed: true })
      await device.write(range.from * SECTOR, stampedData(lun.uid, range.from, range.to, version)).finally(() => device.close())
    })
    if (flushed && lun.exists && !lun.changing) await life.flush(lun)
  })
  return true
}

function zeroIn(life: Life, lun: LunModel | undefined): boolean {
  if (!lun) return false
  const range = pickRange(life, lun)
  if (!isFree(life, lun, range)) return false
  life.start(`zero ${lun.name} ${range.from}-${range.to}`, () =>
    life.change(lun, 'zero', { ...range, version: ZERO }, async () => {
      const device = await life.running.engine.openLun(lun.name, { mixed: true })
      await device.zero(range.from * SECTOR, (range.to - range.from) * SECTOR).finally(() => device.close())
    }),
  )
  return true
}

/** Whole slices of what is trimmed read as zeros afterwards, the rest stays. */
function trim(life: Life): boolean {
  const lun = pickLun(life, false)
  if (!lun || (life.shape.snapped && lun.relating)) return false
  const first = life.random.below(lun.sectors / SLICE_SECTORS)
  const last = Math.min(lun.sectors / SLICE_SECTORS, first + life.random.between(1, 4))
  const inner = { from: first * SLICE_SECTORS, to: last * SLICE_SECTORS }
  if (!isFree(life, lun, inner)) return false
  const outer = { from: Math.max(0, inner.from - life.random.below(SLICE_SECTORS)), to: Math.min(lun.sectors, inner.to + life.random.below(SLICE_SECTORS)) }
  const call = async (): Promise<void> => {
    lun.trimming++
    try {
      await life.running.engine.call('lun.trim', { lun: lun.name, offset: outer.from * SECTOR, length: (outer.to - outer.from) * SECTOR })
    } finally {
      lun.trimming--
    }
  }
  // A reserved LUN keeps what it has, and one in a relationship: what is decided when it is asked.
  const { luns, relationships, trees } = life.running.parts
  const found = luns.find(lun.name)
  const kept = found.isReserved || relationships.of(found).length > 0 || trees.treeOf(found) !== undefined
  life.start(`trim ${lun.name} ${outer.from}-${outer.to}`, kept ? call : () => life.change(lun, 'trim', { ...inner, version: ZERO }, call))
  return true
}

function readFrom(life: Life, lun: LunModel | undefined): boolean {
  if (!lun) return false
  const { from, to } = pickRange(life, lun)
  life.start(`read ${lun.name} ${from}-${to}`, () => life.read(lun, from, to))
  return true
}

function flushOf(life: Life, lun: LunModel | undefined): boolean {
  if (!lun) return false
  life.start(`flush ${lun.name}`, () => life.flush(lun))
  return true
}

// ---- the directory

const isRelated = ({ model }: Life, lun: LunModel): boolean =>
  [...model.relations.values()].some(({ source, image, exists }) => exists && (source === lun || image === lun)) ||
  [...model.snapshots.values()].some(({ parent }) => parent === lun)
/** What a LUN with relationships or snapshots is refused. */
const inTheWay = ['ERR_IN_RELATIONSHIP', 'ERR_HAS_SNAPSHOTS'] as const

/** A change of what the directory says about a LUN. */
async function directory(life: Life, lun: LunModel, entry: LunEntry, run: () => Promise<unknown>): Promise<boolean> {
  lun.changing = true
  const change = lun.entry.begin(entry, life.now())
  try {
    await run()
    change.acked = life.now()
    return true
  } catch (error) {
    lun.entry.refuse(change)
    if (!inTheWay.some(code => isCode(error, code)) || !isRelated(life, lun)) life.refused(error)
    return false
  } finally {
    lun.changing = false
  }
}

const sizeLeft = (life: Life): number => LUNS_SIZE_MAX - life.model.live.reduce((sum, lun) => sum + lun.sectors * SECTOR, 0)

/** A name that no LUN has, or had when something was last asked; names of deleted LUNs come again. */
function freeName(life: Life): string | undefined {
  const taken = new Set([...life.model.luns.values()].filter(lun => lun.exists || lun.changing).map(lun => lun.name))
  for (const lun of life.model.luns.values()) if (lun.changing) for (const entry of lun.entry.allowedAt(Infinity)) if (entry) taken.add(entry.name)
  const free = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'].filter(name => !taken.has(name))
  return free.length === 0 ? undefined : life.random.pick(free)
}

export function createLun(life: Life): boolean {
  const { random, running } = life
  const { related } = life.shape
  const most = Math.min(related ? RELATED_MAX : 14, Math.floor(sizeLeft(life) / MIB))
  const name = freeName(life)
  if (!name || most < 1 || life.model.live.length >= LUNS_MAX + Number(related)) return false
  // Images are as large as their sources, or larger.
  const like = related && life.model.live.length > 0 && random.chance(0.6) ? random.pick(life.model.live).sectors * SECTOR : 0
  const size = like > 0 && like <= most * MIB ? like : random.between(1, most) * MIB
  // Rows that a crash and the loss of a disk leave garbled would be in images too: pools have the one or the other.
  const parity = !related && [...running.parts.pool.disks.values()].filter(disk => !disk.isWitness).length >= 5 && random.chance(0.5)
  const raid = parity ? 'raid5' : random.chance(0.6) ? 'raid1' : 'raid0'
  const reserve = random.chance(0.08)
  const stripe = random.chance(0.3) ? random.between(2, 3) : 1
  const border = random.chance(0.25) ? random.between(1, 12) * MIB : 0
  // Behind a border the LUN is as the model has it, before it is a mirror: nothing is promised of it that is not kept.
  const types: Pick<Params<'lun.create'>, 'raid' | 'stripe' | 'ranges'> = border === 0
    ? { raid, stripe }
    : {
        ranges: [
          { offset: 0, length: border, raid: 'raid1' },
          { offset: border, length: null, raid, stripe },
        ],
      }
  const lun = new LunModel(++life.counters.lun, raid, undefined, { tick: 0, position: 0 }, { versions: new Uint32Array(0), before: [] })
  life.start(
    `create ${name} ${raid} by ${stripe} ${border > 0 ? `from ${border / MIB} MiB ` : ''}${size / MIB} MiB${reserve ? ', reserved' : ''}`,
    async () => {
      const done = await directory(life, lun, { name, size }, async () => {
        const call = running.engine.call('lun.create', { name, size, ...types, reserve })
        // It is in the directory before anything is waited for, and has its number.
        const made = running.parts.luns.all.find(other => other.name === name)
        if (made) life.model.luns.set(made.number, lun)
        await call
      }).catch((error: unknown) => {
        if (isCode(error, 'ERR_TOO_FEW_DISKS') && !life.isWhole) return false
        throw error
      })
      if (done) life.note(`created ${name}`)
    },
  )
  return true
}

function deleteLun(life: Life): boolean {
  const lun = pickLun(life, true)
  if (!lun) return false
  const { name } = lun
  life.start(`delete ${name}`, async () => {
    await directory(life, lun, undefined, () => life.running.engine.call('lun.delete', { lun: name }))
  })
  return true
}

function renameLun(life: Life): boolean {
  const lun = pickLun(life, false)
  const to = freeName(life)
  if (!lun || !to || lun.users > 0 || lun.relating) return false
  const { name } = lun
  life.start(`rename ${name} to ${to}`, async () => {
    await directory(life, lun, { name: to, size: lun.sectors * SECTOR }, () => life.running.engine.call('lun.rename', { lun: name, name: to }))
  })
  return true
}

function growLun(life: Life): boolean {
  const lun = pickLun(life, true)
  const most = Math.floor(sizeLeft(life) / MIB)
  if (!lun || most < 1) return false
  const { name } = lun
  const size = lun.sectors * SECTOR + life.random.between(1, Math.min(6, most)) * MIB
  life.start(`grow ${name} to ${size / MIB} MiB`, async () => {
    await directory(life, lun, { name, size }, () => life.running.engine.call('lun.resize', { lun: name, size }))
  })
  return true
}

function shrinkLun(life: Life): boolean {
  const lun = pickLun(life, true)
  if (!lun || lun.sectors <= SLICE_SECTORS) return false
  const { name } = lun
  const was = lun.sectors
  const size = life.random.between(1, was / SLICE_SECTORS - 1) * MIB
  life.start(`shrink ${name} to ${size / MIB} MiB`, async () => {
    if (!(await directory(life, lun, { name, size }, () => life.running.engine.call('lun.resize', { lun: name, size, force: true })))) return
    // What was cut off is zeros if it ever comes back.
    const now = life.now()
    lun.changes.push({ what: 'shrink', from: size / SECTOR, to: was, version: ZERO, begun: now, ended: now, done: true, durable: now })
  })
  return true
}

// ---- the pool

function setting<T>(life: Life, what: string, history: History<T>, value: T, run: () => Promise<unknown>): void {
  life.start(what, async () => {
    const change = history.begin(value, life.now())
    try {
      await run()
      change.acked = life.now()
    } catch (error) {
      if (!life.faulted) throw error
      // It may or may not have happened; the next acknowledged value decides.
      life.refused(error)
    }
  })
}

function setComment(life: Life): boolean {
  const comment = `comment ${life.random.below(1000)}`
  setting(life, `set ${comment}`, life.model.comment, comment, () => life.running.engine.call('pool.set', { settings: { comment } }))
  return true
}

const diskNumbers = (life: Life): number[] => [...life.running.parts.pool.disks.keys()]
const indexOf = (life: Life, number: number): number => life.names.indexOf(life.running.parts.pool.disk(number).device?.name ?? '')

/** One of these at a time: the outcomes of two depend on which was first. */
const busyDisks = new WeakSet<Life>()
function diskOperation(life: Life, what: string, run: () => Promise<void>): boolean {
  if (busyDisks.has(life)) return false
  busyDisks.add(life)
  life.start(what, () => run().finally(() => busyDisks.delete(life)))
  return true
}

function labelDisk(life: Life): boolean {
  const number = life.random.pick(diskNumbers(life))
  const domain = life.random.chance(0.7) ? null : `shelf${number}`
  let history = life.model.domains.get(number)
  if (!history) life.model.domains.set(number, (history = new History('', { tick: 0, position: 0 })))
  const known = history
  return diskOperation(life, `label disk ${number} ${domain}`, async () => {
    const change = known.begin(domain ?? '', life.now())
    try {
      await life.running.engine.call('disk.label', { disk: String(number), domain })
      change.acked = life.now()
    } catch (error) {
      life.refused(error)
    }
  })
}

function addDisk(life: Life): boolean {
  const known = new Set([...life.running.parts.pool.disks.values()].map(disk => disk.device?.name))
  const spare = life.names.find((name, i) => name.startsWith('spare') && !known.has(name) && life.mood(i) === 'well')
  if (!spare) return false
  const { diskCount } = life.model
  return diskOperation(life, `add ${spare}`, async () => {
    const change = diskCount.begin(diskCount.last + 1, life.now())
    try {
      await life.running.engine.call('disk.add', { disks: [{ path: spare }], overwrite: true })
      change.acked = life.now()
    } catch (error) {
      life.refused(error)
    }
  })
}

function offlineDisk(life: Life): boolean {
  if (!life.isWhole) return false
  const number = life.random.pick(diskNumbers(life))
  return diskOperation(life, `offline disk ${number}`, async () => {
    const change = offlineOf(life, number).begin(true, life.now())
    try {
      await life.running.engine.call('disk.offline', { disk: String(number), force: true })
      change.acked = life.now()
    } catch (error) {
      // The last quorum disk stays.
      if (isCode(error, 'ERR_QUORUM_LOST')) return
      life.refused(error)
    }
  })
}

const offlineOf = (life: Life, number: number): History<boolean> => {
  let history = life.model.offline.get(number)
  if (!history) life.model.offline.set(number, (history = new History(false, { tick: 0, position: 0 })))
  return history
}

function onlineDisk(life: Life): boolean {
  const away = [...life.running.parts.pool.disks.values()].filter(disk => disk.state === 'missing' || disk.state === 'failed')
  if (away.length === 0) return false
  const { number } = life.random.pick(away)
  const index = indexOf(life, number)
  if (index >= 0 && life.mood(index) !== 'well') return false
  return diskOperation(life, `online disk ${number}`, async () => {
    const change = offlineOf(life, number).begin(false, life.now())
    try {
      await life.running.engine.call('disk.online', { disk: String(number) })
      change.acked = life.now()
    } catch (error) {
      // After a failed flush only a new opening may believe it again.
      if (isCode(error, 'ERR_DISK_STATE')) return
      // One that cannot be read now is not found.
      if (isCode(error, 'ERR_DISK_NOT_FOUND') && life.faulted) return
      life.refused(error)
    }
  })
}

function checkpoint(life: Life): boolean {
  life.start('checkpoint', () => life.running.parts.pool.metadata.checkpoint())
  return true
}

function closeSlices(life: Life): boolean {
  const all = [...life.running.parts.pool.stores.values()].filter(stores => stores.openCount > 0)
  if (all.length === 0) return false
  const stores = life.random.pick(all)
  life.start(`close slices of LUN ${stores.lun}`, async () => {
    try {
      await stores.closeOpen(life.random.chance(0.5) ? 0 : 1)
    } catch (error) {
      life.refused(error)
    }
  })
  return true
}

/** One disk at a time: redundancy bears no more. */
function breakDisk(life: Life): boolean {
  if (!life.isWhole || busyDisks.has(life)) return false
  const index = indexOf(life, life.random.pick(diskNumbers(life)))
  if (index < 0) return false
  const mood = life.shape.tight && life.random.chance(0.7) ? 'no-space' : life.random.pick(['no-writes', 'no-flush', 'dead', 'no-space'] as const)
  if (mood === 'no-space') life.hostWasFull = true
  life.setMood(index, mood)
  return true
}

function mendDisk(life: Life): boolean {
  const broken = life.names.findIndex((_, i) => life.mood(i) !== 'well')
  if (broken < 0) return false
  life.setMood(broken, 'well')
  return true
}

function passTime(life: Life): boolean {
  life.sources.clock.advance(life.random.pick([10, 500, 6000]))
  return true
}

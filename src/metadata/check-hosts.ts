/** Hosts and presentations held against the volumes they name. */
import {
  LUN_DELETED,
  LUN_STORE,
  LUN_WRITE_ONCE,
  PRESENTATION_READ_ONLY,
  PRESENTATION_SHARED,
  presentedVolume,
  SNAPSHOT_DEAD,
  SNAPSHOT_HIDDEN,
  SNAPSHOT_WRITABLE,
  WOD_GONE,
  type HostRecord,
  type LunRecord,
  type PresentationRecord,
  type SnapshotRecord,
  type WodRecord,
} from './records.ts'

export class HostRecords {
  readonly hosts = new Map<number, HostRecord>()
  readonly presentations: { readonly host: number; readonly lo: number; readonly record: PresentationRecord }[] = []
}

interface Volumes {
  readonly lun: ReadonlyMap<number, LunRecord>
  readonly snapshot: ReadonlyMap<number, SnapshotRecord>
  readonly wod: ReadonlyMap<number, WodRecord>
}

type Report = (code: string, object: string, message: string) => void

/** Host names are unique, what is presented is there and may be, and nobody writes a volume beside others who were not asked. */
export function checkHosts({ hosts, presentations }: HostRecords, volumes: Volumes, problem: Report): void {
  const names = new Map<string, number>()
  for (const [number, { name }] of hosts) {
    const other = names.get(name)
    if (other !== undefined) problem('host.name', `host ${number}`, `host ${other} has the same name "${name}"`)
    names.set(name, number)
  }
  const writers = new Map<number, { host: number; shared: boolean }[]>()
  for (const { host, lo, record } of presentations) {
    const object = `presentation ${host}.${lo}`
    if (!hosts.has(host)) problem('presentation.host', object, `host ${host} does not exist`)
    const presented = presentedVolume(lo)
    if (!presented) problem('presentation.volume', object, 'it is of no known kind of volume')
    else {
      const why = cannotBePresented(volumes, presented.kind, presented.volume, record)
      if (why !== undefined) problem('presentation.volume', object, `${presented.kind} ${presented.volume} ${why}`)
    }
    if ((record.flags & PRESENTATION_READ_ONLY) !== 0) continue
    const others = writers.get(lo) ?? []
    writers.set(lo, [...others, { host, shared: (record.flags & PRESENTATION_SHARED) !== 0 }])
  }
  for (const [lo, found] of writers)
    if (found.length > 1 && found.some(({ shared }) => !shared))
      problem(
        'presentation.writers',
        `presentation ${found[0]!.host}.${lo}`,
        `hosts ${found.map(({ host }) => host).join(', ')} may all write the volume, and not all share it`,
      )
}

function cannotBePresented(volumes: Volumes, kind: keyof Volumes, number: number, { flags }: PresentationRecord): string | undefined {
  const lun = kind === 'lun' ? volumes.lun.get(number) : undefined
  const snapshot = kind === 'snapshot' ? volumes.snapshot.get(number) : undefined
  const wod = kind === 'wod' ? volumes.wod.get(number) : undefined
  const gone =
    (!lun && !snapshot && !wod) ||
    ((lun?.flags ?? 0) & LUN_DELETED) !== 0 ||
    ((snapshot?.flags ?? 0) & (SNAPSHOT_DEAD | SNAPSHOT_HIDDEN)) !== 0 ||
    ((wod?.flags ?? 0) & WOD_GONE) !== 0
  if (gone) return 'does not exist'
  if (lun && (lun.flags & (LUN_STORE | LUN_WRITE_ONCE)) !== 0) return 'is not for hosts'
  if (snapshot && (snapshot.flags & SNAPSHOT_WRITABLE) === 0 && (flags & PRESENTATION_READ_ONLY) === 0) return 'is frozen, and presented for writing'
  return undefined
}

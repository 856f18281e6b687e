/** Writes that go down together: neighbours as one. Pure. */

/** One write to a device made of several. */
export interface Overwrite<W> {
  readonly offset: number
  readonly data: Uint8Array
  /** In the order in which they came. */
  readonly writes: readonly W[]
}

interface Placed {
  /** Bytes. */
  readonly offset: number
  readonly data: Uint8Array
}

/** Writes that touch each other are joined up to this; those that overlap always. Bytes. */
const JOINED_MAX = 256 * 1024

/** @param writes in the order in which they came: of those that overlap the later one counts */
export function overwrites<W extends Placed>(writes: readonly W[]): Overwrite<W>[] {
  const order = writes.map((_, i) => i).sort((a, b) => writes[a]!.offset - writes[b]!.offset || a - b)
  const groups: { offset: number; end: number; members: number[] }[] = []
  for (const i of order) {
    const { offset, data } = writes[i]!
    const last = groups.at(-1)
    if (last && (offset < last.end || (offset === last.end && offset + data.length - last.offset <= JOINED_MAX))) {
      last.end = Math.max(last.end, offset + data.length)
      last.members.push(i)
    } else groups.push({ offset, end: offset + data.length, members: [i] })
  }
  return groups.map(({ offset, end, members }) => {
    if (members.length === 1) return { offset, data: writes[members[0]!]!.data, writes: [writes[members[0]!]!] }
    const data = new Uint8Array(end - offset)
    const inOrder = members.sort((a, b) => a - b).map(i => writes[i]!)
    for (const write of inOrder) data.set(write.data, write.offset - offset)
    return { offset, data, writes: inOrder }
  })
}

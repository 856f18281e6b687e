import type { Socket } from 'node:net'
import { ARENA, type Buffers } from './buffers.ts'

/** What one write to the socket holds until the system has taken it. */
interface Held {
  readonly arenas: Buffer[]
  readonly buffers: Buffer[]
}

/**
 * Replies of a turn, sent with one write. Small ones are made in place in an arena, one after the other; long ones keep the
 * buffer they were read into.
 */
export class Output {
  /** The arena; `reserve` says where in it. */
  buffer: Buffer
  /** Bytes that wait for `flush`. */
  waiting = 0

  private filled = 0
  /** Up to here the arena is in a segment already. */
  private cut = 0
  private segments: Buffer[] = []
  private fullArenas: Buffer[] = []
  private longBuffers: Buffer[] = []
  /** Writes under way, oldest first. */
  private readonly held: Held[] = []
  constructor(
    private readonly socket: Socket,
    private readonly buffers: Buffers,
    /** The system took some of it: there may be room for more. */
    private readonly taken: () => void,
  ) {
    this.buffer = buffers.take(ARENA)
  }

  /** Bytes that the system has not taken. */
  get backlog(): number {
    return this.waiting + this.socket.writableLength
  }

  /** Room for `length` bytes (at most an arena) in `buffer`. @returns the place of it; it counts once it is committed */
  reserve(length: number): number {
    if (this.filled + length > ARENA) this.changeArena()
    return this.filled
  }

  commit(length: number): void {
    this.filled += length
    this.waiting += length
  }

  /** Sends a part of a buffer from `Buffers`, and gives it back. */
  long(buffer: Buffer, start: number, end: number): void {
    this.cutSegment()
    this.segments.push(buffer.subarray(start, end))
    this.longBuffers.push(buffer)
    this.waiting += end - start
  }

  flush(): void {
    this.cutSegment()
    const segments = this.segments
    if (segments.length === 0) return
    this.waiting = 0
    this.held.push({ arenas: this.fullArenas, buffers: this.longBuffers })
    this.fullArenas = []
    this.longBuffers = []
    if (segments.length === 1) {
      this.socket.write(segments[0]!, this.written)
      segments.length = 0
      return
    }
    this.segments = []
    this.socket.cork()
    const last = segments.pop()!
    for (const segment of segments) this.socket.write(segment)
    this.socket.write(last, this.written)
    this.socket.uncork()
  }

  /** Nothing is sent after this; what is under way gives its buffers back when it has ended. */
  close(): void {
    const last = this.held.at(-1)
    for (const buffer of this.longBuffers) this.buffers.give(buffer)
    for (const arena of [...this.fullArenas, this.buffer]) {
      if (last) last.arenas.push(arena)
      else this.buffers.give(arena)
    }
    this.buffer = Buffer.alloc(0)
    this.longBuffers = []
    this.fullArenas = []
    this.segments = []
    this.waiting = 0
    this.filled = ARENA
    this.cut = ARENA
  }

  private cutSegment(): void {
    if (this.filled === this.cut) return
    this.segments.push(this.buffer.subarray(this.cut, this.filled))
    this.cut = this.filled
  }

  /** An arena is free again when the last write with a part of it has ended; they end in their order. */
  private changeArena(): void {
    this.cutSegment()
    const last = this.held.at(-1)
    if (this.segments.length > 0) this.fullArenas.push(this.buffer)
    else if (last) last.arenas.push(this.buffer)
    if (this.segments.length > 0 || last) this.buffer = this.buffers.take(ARENA)
    this.filled = 0
    this.cut = 0
  }

  private readonly written = (): void => {
    const held = this.held.shift()!
    for (const arena of held.arenas) this.buffers.give(arena)
    for (const buffer of held.buffers) this.buffers.give(buffer)
    if (this.held.length === 0 && this.segments.length === 0 && this.filled === this.cut && this.buffer.length > 0) {
      this.filled = 0
      this.cut = 0
    }
    this.taken()
  }
}

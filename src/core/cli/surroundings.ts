/**
 * Everything of the outside world that a command touches, in one object, so that tests can put their own in its place.
 * Heavy rooms (the engine, transfers) are loaded when a command first asks for them, never at start-up.
 */
export interface OutputStream extends NodeJS.WritableStream {
  readonly isTTY?: boolean
  readonly columns?: number
}

export interface InputStream extends NodeJS.ReadableStream {
  readonly isTTY?: boolean
}

export type FrontDoor = typeof import('../server/front.ts')
export type Transfers = typeof import('../lun/transfer.ts')

/** How the operator asks a command to stop. */
export type StopSignal = 'SIGINT' | 'SIGTERM'

export interface Surroundings {
  readonly stdin: InputStream
  readonly stdout: OutputStream
  readonly stderr: OutputStream
  readonly env: Readonly<Record<string, string | undefined>>
  /** The only way to pools. */
  front(): Promise<FrontDoor>
  transfers(): Promise<Transfers>
  /** Calls `handler` for each SIGINT and SIGTERM until the returned function is called. */
  onStop(handler: (signal: StopSignal) => void): () => void
  /** Ends the process at once; for the second Ctrl-C only. */
  abandon(status: number): void
}

export const processSurroundings: Surroundings = {
  get stdin() {
    return process.stdin
  },
  get stdout() {
    return process.stdout
  },
  get stderr() {
    return process.stderr
  },
  env: process.env,
  front: () => import('../server/front.ts'),
  transfers: () => import('../lun/transfer.ts'),
  onStop(handler) {
    process.on('SIGINT', handler)
    process.on('SIGTERM', handler)
    return () => {
      process.off('SIGINT', handler)
      process.off('SIGTERM', handler)
    }
  },
  abandon: status => process.exit(status),
}

/** Colour, boxes, bars and questions are for terminals whose user did not switch them off (no-color.org). */
export function isFancy(stream: OutputStream, env: Surroundings['env']): boolean {
  return stream.isTTY === true && !env['NO_COLOR'] && env['TERM'] !== 'dumb'
}

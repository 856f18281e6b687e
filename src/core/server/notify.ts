/** What systemd passes to a service, and what it wants to hear from it. No library: two environment variables and a datagram. */
import { sendDatagram } from '../block/host.ts'

/** First descriptor that systemd passes (sd_listen_fds). */
const LISTEN_FDS_START = 3

/** A listening socket that was made by somebody else. */
export interface PassedSocket {
  readonly fd: number
  /** `FileDescriptorName=` of its unit. */
  readonly name: string
}

/** Sockets that were passed to this process and to no other. */
export function passedSockets(env: NodeJS.ProcessEnv = process.env): PassedSocket[] {
  if (env.LISTEN_PID !== String(process.pid)) return []
  const count = /^\d{1,4}$/.test(env.LISTEN_FDS ?? '') ? Number(env.LISTEN_FDS) : 0
  const names = (env.LISTEN_FDNAMES ?? '').split(':')
  return Array.from({ length: count }, (_, i) => ({ fd: LISTEN_FDS_START + i, name: names[i] ?? '' }))
}

/**
 * Tells the service manager how the service is: `READY=1`, `STOPPING=1`, `STATUS=…`. Without one nothing happens.
 * @returns whether somebody was told
 */
export function notify(state: readonly string[], env: NodeJS.ProcessEnv = process.env): boolean {
  const address = env.NOTIFY_SOCKET
  if (address === undefined || !/^[/@]/.test(address)) return false
  return sendDatagram(address, Buffer.from(`${state.join('\n')}\n`))
}

import { Latencies } from '../base/latency.ts'
import { command, type NbdError } from './protocol.ts'

/** What the clients of a server asked for since it began, however many connections that took. */
export class RequestCounts {
  /**
   * From the moment when all of a request was read to the one when its reply was handed to the socket, by command. Requests that are made at once in
   * one turn leave together, and took as long as that turn.
   */
  readonly times: readonly Latencies[] = Object.values(command).map(() => new Latencies())
  /** Requests that were answered with an error, by its number. */
  readonly errors = new Map<NbdError, number>()
  /** Clients that were let in, and those that were turned away for want of room. */
  accepted = 0
  refused = 0

  failed(error: NbdError): void {
    this.errors.set(error, (this.errors.get(error) ?? 0) + 1)
  }
}

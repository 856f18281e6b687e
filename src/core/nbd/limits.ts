import { MIB } from '../base/units.ts'

/** What one client may cost the server. A limit that is met before a client is known ends its connection. */
export interface NbdLimits {
  /** Options of one negotiation. */
  readonly optionsMax: number
  /** Data of one option; the strings in it have the protocol's 4096. Bytes. */
  readonly optionBytesMax: number
  /** From the first byte until an export is asked for, TLS included. Milliseconds. */
  readonly handshakeMsMax: number
  readonly connectionsMax: number
  /** Of one peer: of a host where the transport proves it, else of an address. */
  readonly connectionsPerPeerMax: number
  /** Advertised; longer reads and writes are refused. Bytes. */
  readonly payloadMax: number
  /** A write that says it has more is taken for an attack: the connection ends. Bytes. */
  readonly payloadFatal: number
  /** Requests under way and replies that the client has not taken; above this no further request is read. Bytes. */
  readonly bytesInFlightMax: number
  /** Requests under way on one connection. */
  readonly requestsInFlightMax: number
  /** What is under way may take so long when a connection is closed from here. Milliseconds. */
  readonly drainMsMax: number
  /** The loop looks for the next request without sleeping for so long after the last one; 0 never does. Microseconds. */
  readonly awakeUs: number
}

export const defaultLimits: NbdLimits = {
  optionsMax: 32,
  optionBytesMax: 64 * 1024,
  handshakeMsMax: 10_000,
  connectionsMax: 4096,
  connectionsPerPeerMax: 2048,
  payloadMax: 32 * MIB,
  payloadFatal: 64 * MIB,
  bytesInFlightMax: 16 * MIB,
  requestsInFlightMax: 1024,
  drainMsMax: 10_000,
  awakeUs: 200,
}

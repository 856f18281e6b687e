/** What the NBD server needs from whoever has volumes to serve. It knows nothing of pools, LUNs and hosts beyond this. */
import type { BlockDevice } from '../block/device.ts'

/** Who is on the other side, as far as the transport proved it. */
export interface Peer {
  /** For messages: the address of the other side, or the path of the unix socket. */
  readonly address: string
  /** `tls`: the client has shown a certificate that was signed by the authority of the server. */
  readonly transport: 'unix' | 'tcp' | 'tls'
  /** The common name of the client certificate, or the host a unix socket stands for. */
  readonly host: string | null
}

/** A kind of information about ranges of an export, which clients ask for by name (protocol: metadata contexts). */
export interface MetaContext {
  /** `namespace:leaf`, at most 4096 bytes: `lunar:changed:monday`, `qemu:dirty-bitmap:monday`. `base:allocation` is the server's own. */
  readonly name: string
  /**
   * What the range holds, in order and without gaps, from `offset` on. Lengths (bytes, above 0) may add up to less than
   * `length`, but not to 0; what goes beyond is cut off. Flags are what the context says they are, 32 bits.
   */
  extents(offset: number, length: number): Promise<readonly MetaExtent[]>
}

export interface MetaExtent {
  readonly length: number
  readonly flags: number
}

/** What clients may learn of an export without opening it. */
export interface NbdExportInfo {
  readonly name: string
  readonly description: string
  /** Bytes. */
  readonly size: number
  readonly readOnly: boolean
  readonly contexts: readonly { readonly name: string }[]
}

/** An export that a client has open: one a connection. */
export interface NbdExport {
  readonly name: string
  readonly description: string
  /**
   * Devices of one export name share everything: a flush of one covers the writes of all (protocol: `CAN_MULTI_CONN`).
   * Where the device is a `FastDevice`, small requests take that path. It is not closed by the server.
   */
  readonly device: BlockDevice
  readonly readOnly: boolean
  readonly contexts: readonly MetaContext[]
  /** Zeroing costs less than writing zeros; false when left out. */
  readonly zeroIsFast?: boolean
  /** Called once, when no request of the connection uses the device any more. */
  release(): Promise<void>
}

export interface NbdExports {
  /** Names this peer may see. */
  list(peer: Peer): Promise<readonly { name: string; description: string }[]>
  /**
   * What a client may know before it has the export (options INFO and the two of meta contexts), so that it is opened only when
   * negotiation has succeeded. Where it is left out the export is opened and released again.
   * @throws LunarError as `open`
   */
  describe?(name: string, peer: Peer): Promise<NbdExportInfo>
  /**
   * The empty name is the default export, if there is one.
   * @throws LunarError of exit status 3 (not found) where the peer may not even know of it; anything else is told to the client as a refusal
   */
  open(name: string, peer: Peer): Promise<NbdExport>
}

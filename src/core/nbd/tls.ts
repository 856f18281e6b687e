/** Changing a connection to TLS, where the certificate of the client says which host it is. */
import type { Socket } from 'node:net'
import { createServer, type TLSSocket } from 'node:tls'
import { LunarError } from '../base/errors.ts'

/** PEM texts. */
export interface TlsCredentials {
  readonly key: string | Buffer
  readonly cert: string | Buffer
  /** Who signs the certificates of clients. */
  readonly ca: string | Buffer
}

export interface SecureConnection {
  readonly socket: TLSSocket
  /** Common name of the client's certificate. */
  readonly host: string
}

/**
 * Waits for the client's handshake on an open connection, which has no other readers any more.
 * A server that listens nowhere does it: Node checks certificates in servers only.
 * @throws LunarError `ERR_FAILED` when the client has no certificate of the authority, or one without a single name
 */
export function acceptTls(socket: Socket, credentials: TlsCredentials): Promise<SecureConnection> {
  return new Promise((resolve, reject) => {
    const refuse = (why: string, cause?: unknown): void => {
      socket.destroy()
      reject(new LunarError('ERR_FAILED', 'Cannot change to TLS', { why, cause }))
    }
    const { key, cert, ca } = credentials
    const server = createServer({ key, cert, ca, requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.2' })
    server.once('secureConnection', secure => {
      const name: unknown = secure.getPeerCertificate().subject?.CN
      if (typeof name === 'string' && name !== '') return resolve({ socket: secure, host: name })
      secure.destroy()
      refuse('the certificate of the client has no common name, or several')
    })
    server.once('tlsClientError', error => {
      refuse(error.message, error)
    })
    socket.once('close', () => {
      refuse('the client is gone')
    })
    server.emit('connection', socket)
  })
}

/** A port for whoever collects metrics: plain HTTP, one page, to be read. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { errnoOf, LunarError } from '../base/errors.ts'
import { EXPOSITION_TYPE } from './exposition.ts'

/** Connections at once, and how long one may take to ask. Milliseconds. */
const CONNECTIONS_MAX = 32
const ASK_WITHIN = 10_000

export interface MetricsListener {
  /** `address:port` as it was bound. */
  readonly address: string
  close(): Promise<void>
}

/**
 * Answers `GET /metrics` and nothing else, to whoever reaches the port.
 * @param failed is told why there was no answer
 * @throws LunarError `ERR_BUSY` when the port is taken, `ERR_HOST_LIMIT`
 */
export async function listenMetrics(
  at: { readonly host: string; readonly port: number },
  text: () => Promise<string>,
  failed: (error: unknown) => void,
): Promise<MetricsListener> {
  const server = createServer({ requestTimeout: ASK_WITHIN, headersTimeout: ASK_WITHIN }, (request, response) => {
    const answer = (status: number, body: string, type = 'text/plain; charset=utf-8'): void => {
      const bytes = Buffer.from(body)
      response.writeHead(status, { 'content-type': type, 'content-length': bytes.length, ...(status === 405 ? { allow: 'GET, HEAD' } : {}) })
      response.end(request.method === 'HEAD' ? undefined : bytes)
    }
    request.resume()
    if (request.url?.split('?', 1)[0] !== '/metrics') return answer(404, 'There is only /metrics here\n')
    if (request.method !== 'GET' && request.method !== 'HEAD') return answer(405, 'Metrics are only read\n')
    text().then(
      body => {
        answer(200, body, EXPOSITION_TYPE)
      },
      (error: unknown) => {
        failed(error)
        answer(500, 'The metrics cannot be read: the log of the server says why\n')
      },
    )
  })
  server.maxConnections = CONNECTIONS_MAX
  await new Promise<void>((resolve, reject) => {
    server.once('error', error => {
      reject(new LunarError(errnoOf(error) === 'EADDRINUSE' ? 'ERR_BUSY' : 'ERR_HOST_LIMIT', `Cannot listen on ${at.host}:${at.port}`, { cause: error }))
    })
    server.listen(at, resolve)
  })
  const { family, address, port } = server.address() as AddressInfo
  return {
    address: family === 'IPv6' ? `[${address}]:${port}` : `${address}:${port}`,
    close: () =>
      new Promise(resolve => {
        server.close(() => {
          resolve()
        })
        server.closeAllConnections()
      }),
  }
}

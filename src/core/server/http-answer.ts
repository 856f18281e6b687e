/** How answers leave over HTTP. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { toWire } from './wire.ts'

export function sendJson(response: ServerResponse, status: number, value: unknown): void {
  sendText(response, 'application/json', JSON.stringify(value), status)
}

export function sendText(response: ServerResponse, type: string, text: string, status = 200): void {
  if (response.destroyed) return
  const body = Buffer.from(text)
  response.writeHead(status, { 'content-type': type, 'content-length': body.length })
  response.end(body)
}

/** Answers with the error; what is left of the request's body is not read, so the connection ends with it. */
export function sendError(request: IncomingMessage, response: ServerResponse, status: number, error: unknown): void {
  sendFailure(request, response, status, toWire(error))
}

/** The same, with a body of its own. */
export function sendFailure(request: IncomingMessage, response: ServerResponse, status: number, body: object): void {
  if (response.headersSent || response.destroyed) {
    response.destroy()
    return
  }
  if (!request.complete) response.setHeader('connection', 'close')
  sendJson(response, status, body)
}

/** Text of a client as it may appear in messages: short, without control characters. */
export const plain = (value: unknown): string => (typeof value === 'string' ? value.replace(/[\p{Cc}\p{Cf}]/gu, '?').slice(0, 200) : '')

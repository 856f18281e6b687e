import type { IncomingMessage, ServerResponse } from 'node:http'
import { LunarError } from '../base/errors.ts'
import type { BlockDevice } from '../block/device.ts'
import { checkRange } from '../block/range.ts'
import type { DataBuffers } from './data-buffers.ts'
import { bodyLength, readBody } from './http-body.ts'
import type { Session } from './session.ts'
import { DATA_MAX } from './wire.ts'

/**
 * One request for user data: read, write, zero, trim, flush, extents or close of an open device. A write reaches the
 * device only when its whole body is here (fault F32).
 */
export async function serveData(
  session: Session,
  handle: number,
  operation: string,
  query: URLSearchParams,
  request: IncomingMessage,
  response: ServerResponse,
  buffers: DataBuffers,
): Promise<void> {
  if (operation === 'close') {
    request.resume()
    await session.closeDevice(handle)
    sendEmpty(response)
    return
  }
  await session.use(handle, async (device, name) => {
    const writing = operation === 'write'
    const body = bodyLength(request, writing ? DATA_MAX : 0)
    const offset = number(query, 'offset')
    const length = writing ? body : number(query, 'length')
    checkRange(`LUN ${name}`, device.size, device.blockSize, offset, length)
    switch (operation) {
      case 'read':
        await read(device, offset, length, request, response, buffers)
        return
      case 'write':
        await write(device, offset, length, request, buffers)
        break
      case 'zero':
        await device.zero(offset, length)
        break
      case 'trim':
        await device.trim(offset, length)
        break
      case 'flush':
        await device.flush()
        break
      case 'extents': {
        const extents = Buffer.from(JSON.stringify(await device.extents(offset, length)))
        response.writeHead(200, { 'content-length': extents.length })
        response.end(extents)
        return
      }
      default:
        throw new LunarError('ERR_SERVER_VERSION', `Cannot do this with LUN ${name}`, { why: 'the owner of the pool does not know the request' })
    }
    sendEmpty(response)
  })
}

async function write(device: BlockDevice, offset: number, length: number, request: IncomingMessage, buffers: DataBuffers): Promise<void> {
  const buffer = await buffers.take(length)
  try {
    const data = buffer.subarray(0, length)
    await readBody(request, [data])
    await device.write(offset, data)
  } finally {
    buffers.release(buffer)
  }
}

async function read(
  device: BlockDevice,
  offset: number,
  length: number,
  request: IncomingMessage,
  response: ServerResponse,
  buffers: DataBuffers,
): Promise<void> {
  if (length > DATA_MAX) throw new LunarError('ERR_USAGE', 'Cannot take the request', { why: `it asks for ${length} bytes, the most is ${DATA_MAX}` })
  request.resume()
  const buffer = await buffers.take(length)
  try {
    const data = buffer.subarray(0, length)
    await device.read(offset, data)
    if (response.destroyed) return
    await new Promise<void>(resolve => {
      response.once('close', resolve)
      response.writeHead(200, { 'content-length': length })
      response.end(data)
    })
  } finally {
    buffers.release(buffer)
  }
}

function sendEmpty(response: ServerResponse): void {
  if (response.destroyed) return
  response.writeHead(200, { 'content-length': 0 })
  response.end()
}

function number(query: URLSearchParams, key: string): number {
  const text = query.get(key) ?? '0'
  return /^\d{1,16}$/.test(text) ? Number(text) : NaN
}

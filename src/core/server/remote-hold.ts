import { isCode } from '../base/errors.ts'
import type { RelationshipHold } from './api.ts'
import type { ControlClient } from './control-client.ts'
import { Moved } from './wire.ts'

/** Holds a relationship at the process that owns the pool, for as long as this client is there. */
export async function holdRemotely(client: ControlClient, name: string): Promise<RelationshipHold> {
  const { handle, number } = (await client.json('/v1/relationships/hold', { name })) as { handle: number; number: number }
  const close = async (): Promise<void> => {
    try {
      if (!client.lost) await client.json('/v1/relationships/release', { handle })
    } catch (error) {
      // An owner that left has let go, and so has one that died.
      if (!(error instanceof Moved) && !isCode(error, 'ERR_SERVER_UNREACHABLE')) throw error
    }
  }
  return { number, close }
}

/** What the processes of the server tests run: an owner in the background, or one command after the other from stdin. */
import { createInterface } from 'node:readline'
import { useEngine } from '../../../../src/core/server/engine-module.ts'
import { openService } from '../../../../src/core/server/front.ts'
import { setOwnerProgram } from '../../../../src/core/server/handover.ts'
import { isOwnerProcess, runOwner } from '../../../../src/core/server/owner-main.ts'
import type { OwnerService } from '../../../../src/core/server/owner-service.ts'
import { fakeEngine } from './fake-engine.ts'

useEngine(fakeEngine())
setOwnerProgram([process.argv[1]!])
if (isOwnerProcess()) process.exitCode = await runOwner()
else await act()

async function act(): Promise<void> {
  const [pool = 'tank', name = 'actor'] = process.argv.slice(2)
  try {
    const service = (await openService(pool, { mode: 'owner', command: name })) as OwnerService
    const { data } = await service.call('pool.status', {})
    say(data.owner?.pid === process.pid ? 'owner' : `client of ${data.owner?.pid} (${data.owner?.command})`)
    for await (const line of createInterface({ input: process.stdin })) {
      const [verb = '', text = '{}'] = line.split(/ (.*)/s)
      if (verb === 'close') break
      say(await answer(service, verb, JSON.parse(text) as never))
    }
    await service.close()
    say('closed')
  } catch (error) {
    say(`failed ${String((error as { code?: string }).code)} ${(error as Error).message} | ${String((error as { why?: string }).why)}`)
    process.exitCode = 1
  }
  process.stdin.destroy()
}

async function answer(service: OwnerService, verb: string, params: never): Promise<string> {
  try {
    return JSON.stringify((await service.call(verb as 'pool.list', params)).data)
  } catch (error) {
    return `failed ${String((error as { code?: string }).code)}`
  }
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}

/** Limits of LUNs and hosts, with a real client of a real server. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { describe, expect, test } from 'vitest'
import type { HostDetail, LunDetail, ServerStatus } from '../../src/core/server/api.ts'
import { useProgram } from '../support/program.ts'
import { clientEnv, serve } from '../support/server.ts'

describe('quality of service', { timeout: 120_000 }, () => {
  const lunar = useProgram()

  /** A client that reads a block for each line it is sent, and says so. */
  async function reader(uri: string): Promise<{ ask(): void; answer(): Promise<string | undefined> }> {
    const script = 'import sys\nfor line in sys.stdin: h.pread(4096, 0); print("read", flush=True)'
    const child = spawn('nbdsh', ['-u', uri, '-c', 'print("open", flush=True)', '-c', script], { stdio: ['pipe', 'pipe', 'inherit'], env: clientEnv })
    lunar.children.push(child)
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    const answer = async (): Promise<string | undefined> => ((await lines.next()) as IteratorResult<string, undefined>).value
    expect(await answer()).toBe('open')
    return { ask: () => void child.stdin.write('go\n'), answer }
  }

  test('limits hold clients that are connected, are shown, and are there after a restart', async () => {
    lunar.makeTank(2)
    lunar.ok('lun', 'create', 'tank/db', '--size', '8MiB', '--raid', 'raid0')
    lunar.ok('host', 'add', 'tank/web1')
    lunar.ok('present', 'tank/db', '--host', 'web1')
    const socket = ['--socket', `web1=${lunar.path('web1.sock')}`]
    let server = await serve(lunar, ['tank', ...socket], 1)
    const client = await reader(server.uri('web1', 'db'))

    // At a byte a second the second block would come in more than an hour.
    expect(lunar.ok('lun', 'set', 'tank/db', 'bps=1', 'iops=5000', 'iops-burst=100', 'priority=high', 'min-iops=50')).toBe(
      'Set iops, iops-burst, bps, min-iops, priority\n',
    )
    for (let i = 0; i < 2; i++) client.ask()
    expect(await client.answer()).toBe('read')
    expect(lunar.ok('lun', 'set', 'tank/db', 'bps=none')).toBe('Set bps\n')
    expect(await client.answer()).toBe('read')
    expect(lunar.ok('host', 'set', 'tank/web1', 'bps=1')).toBe('Set bps\n')
    for (let i = 0; i < 2; i++) client.ask()
    expect(await client.answer()).toBe('read')
    expect(lunar.ok('host', 'set', 'tank/web1', 'bps=50MiB')).toBe('Set bps\n')
    expect(await client.answer()).toBe('read')

    const lun = lunar.json<LunDetail>('lun', 'show', 'tank/db')
    expect(lun.held).toMatchObject({ throttled: 1, queued: 0 })
    expect(lun.settings.filter(({ from }) => from === 'lun').map(({ key, value }) => `${key}=${value}`)).toEqual([
      'iops=5000',
      'iops-burst=100',
      'min-iops=50',
      'priority=high',
    ])
    expect(lun.layers).toMatchObject({
      ways: [{ below: [{ layer: 'access', below: [{ layer: 'quality-of-service', about: 'host web1: at most 50 MiB a second' }] }] }],
      volume: [{ layer: 'quality-of-service', about: 'at most 5000 operations a second, 100 at once; at least 50 operations a second; high priority' }],
    })
    expect(lunar.json<HostDetail>('host', 'show', 'tank/web1').held.throttled).toBe(1)
    expect(lunar.json<ServerStatus>('server', 'status', 'tank').clients.map(({ held }) => held.throttled)).toEqual([2])
    expect(lunar.ok('host', 'show', 'tank/web1')).toMatch(/held back: +1 request by limits, \d+\.\d s in all\n/)

    // A client that is held back does not hold up the end of the server: it is answered.
    lunar.ok('lun', 'set', 'tank/db', 'bps=1')
    for (let i = 0; i < 2; i++) client.ask()
    expect(await client.answer()).toBe('read')
    expect(await server.kill('SIGTERM')).toBe(0)
    expect(await client.answer()).toBe('read')

    server = await serve(lunar, ['tank', ...socket], 1)
    const again = await reader(server.uri('web1', 'db'))
    for (let i = 0; i < 2; i++) again.ask()
    expect(await again.answer()).toBe('read')
    const late = again.answer()
    expect(lunar.ok('lun', 'set', 'tank/db', 'bps=none')).toBe('Set bps\n')
    expect(await late).toBe('read')
    const [child] = lunar.children.slice(-1)
    child!.stdin!.end()
    await once(child!, 'exit')
    await server.kill('SIGTERM')

    // Refused as a whole, without a server, too.
    expect(lunar.refused('ERR_USAGE', 'lun', 'set', 'tank/db', 'iops=10', 'bps=1')).toContain('min-iops')
    expect(lunar.refused('ERR_USAGE', 'host', 'set', 'tank/web1', 'priority=high')).toContain('iops, iops-burst, bps, bps-burst')
    expect(lunar.ok('lun', 'set', 'tank/db', 'iops=60', '--dry-run')).toBe('Would set iops\n')
    expect(lunar.json<LunDetail>('lun', 'show', 'tank/db').settings.find(({ key }) => key === 'iops')?.value).toBe(5000)
  })
})

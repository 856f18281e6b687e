/** The write-back cache of a LUN, with a real client of a real server that is killed. */
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { describe, expect, test } from 'vitest'
import type { LunDetail } from '../../src/core/server/api.ts'
import { expectConsistentFiles, useProgram } from '../support/program.ts'
import { clientEnv, serve } from '../support/server.ts'

describe('write-back cache', { timeout: 120_000 }, () => {
  const lunar = useProgram()

  /** A client that carries out each line of Python that it is sent, and says so. */
  async function host(uri: string): Promise<(line: string) => Promise<void>> {
    const script = 'import sys\nfor line in sys.stdin: exec(line); print("done", flush=True)'
    const child = spawn('nbdsh', ['-u', uri, '-c', 'print("open", flush=True)', '-c', script], { stdio: ['pipe', 'pipe', 'inherit'], env: clientEnv })
    lunar.children.push(child)
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    const answer = async (): Promise<string | undefined> => ((await lines.next()) as IteratorResult<string, undefined>).value
    expect(await answer()).toBe('open')
    return async line => {
      child.stdin.write(`${line}\n`)
      expect(await answer()).toBe('done')
    }
  }

  const cacheOf = (): string | undefined => JSON.stringify(lunar.json<LunDetail>('lun', 'show', 'tank/a').layers.volume).match(/"cache","about":"([^"]*)"/)?.[1]

  test('keeps what is not flushed, snapshots have it, a kill takes nothing that was flushed, and it goes when it is switched off', async () => {
    const disks = await lunar.tankWithData()
    lunar.refused('ERR_USAGE', 'lun', 'set', 'tank/a', 'cache=1000')
    lunar.ok('host', 'add', 'tank/web1')
    lunar.ok('present', 'tank/a', '--host', 'web1')
    const socket = ['tank', '--socket', `web1=${lunar.path('web1.sock')}`]
    const server = await serve(lunar, socket, 1)
    expect(lunar.ok('lun', 'set', 'tank/a', 'cache=2MiB')).toBe('Set cache\n')
    const run = await host(server.uri('web1', 'a'))
    await run('h.pwrite(b"0" * 12288, 0); h.pwrite(b"1" * 4096, 0); h.flush(); h.pwrite(b"2" * 4096, 4096)')
    await run('assert h.pread(8192, 0) == b"1" * 4096 + b"2" * 4096')
    lunar.ok('snap', 'create', 'tank/a@s')
    await run('for i in range(8): h.pwrite(b"3" * 512, 8192 + 512 * i)')
    expect(cacheOf()).toMatch(/^write-back, 2 MiB at most/)
    server.child.kill('SIGKILL')
    await server.ended

    const read = (name: string): string => lunar.ok('lun', 'read', name, '--offset', '0', '--length', '12288')
    const kept = '1'.repeat(4096) + '2'.repeat(4096)
    expect(read('tank/a')).toMatch(new RegExp(`^${kept}(0{512}|3{512}){8}$`))
    expect(read('tank/a@s')).toBe(kept + '0'.repeat(4096))

    const second = await serve(lunar, socket, 1)
    await (
      await host(second.uri('web1', 'a'))
    )('h.pwrite(b"5" * 12288, 0)')
    expect(lunar.ok('lun', 'set', 'tank/a', 'cache=off')).toBe('Set cache\n')
    expect(cacheOf()).toBeUndefined()
    second.child.kill('SIGKILL')
    await second.ended
    expect(read('tank/a')).toBe('5'.repeat(12288))
    await expectConsistentFiles(disks)
  })
})

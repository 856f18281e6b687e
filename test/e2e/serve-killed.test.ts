/**
 * SIGKILL of the server while a client writes: what was flushed is there when it is back, whatever ran in the background.
 * Five kills here; more: LUNAR_KILLS=500 LUNAR_SEED=1 npx vitest run test/e2e/serve-killed.test.ts
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { expect, test } from 'vitest'
import { Random } from '../../src/core/base/random.ts'
import type { TaskView } from '../../src/core/server/api.ts'
import { useProgram } from '../support/program.ts'
import { clientEnv, serve } from '../support/server.ts'

const KILLS = Number(process.env.LUNAR_KILLS ?? 5)
const SEED = Number(process.env.LUNAR_SEED ?? Math.floor(Math.random() * 1e6))
const BLOCK = 4096
const BLOCKS = 2048

/**
 * Checks every block against what a run before says it may hold, then writes blocks in random order, with their numbers in them, and
 * says each write before it is sent (`w block number`) and each flush after it is answered (`f`).
 */
const writer = `
import random, sys
low = dict(); high = dict()
for line in sys.stdin:
    block, a, b = map(int, line.split())
    low[block], high[block] = a, b
make = lambda block, number: (b"%08d %012d " % (block, number)).ljust(64, b".") * (${BLOCK} // 64)
for block in range(${BLOCKS}):
    data = h.pread(${BLOCK}, block * ${BLOCK})
    number = 0 if data == bytes(${BLOCK}) else int(data[9:21])
    if number != 0 and data != make(block, number): sys.exit(f"block {block} is torn or foreign: {bytes(data[:64])}")
    if not low.get(block, 0) <= number <= high.get(block, 0): sys.exit(f"block {block} has {number}, not {low.get(block, 0)} to {high.get(block, 0)}")
print("checked", flush=True)
rng = random.Random(seed)
number = first
while True:
    for _ in range(rng.randrange(1, 40)):
        number += 1
        block = rng.randrange(${BLOCKS})
        print("w", block, number, flush=True)
        h.pwrite(make(block, number), block * ${BLOCK}, nbd.CMD_FLAG_FUA if rng.random() < 0.1 else 0)
    h.flush()
    print("f", flush=True)
`

const lunar = useProgram()

test(`a client finds what it flushed after each of ${KILLS} kills (seed ${SEED})`, { timeout: 60_000 + KILLS * 30_000 }, async () => {
  const random = new Random(SEED)
  const disks = Array.from({ length: 5 }, (_, i) => `d${i}.img`)
  lunar.ok('pool', 'create', 'tank', ...disks, '--size', '128MiB')
  lunar.ok('lun', 'create', 'tank/db', '--size', '16MiB', '--raid', 'raid5')
  lunar.ok('lun', 'create', 'tank/image', '--size', '16MiB', '--raid', 'raid1')
  lunar.ok('host', 'add', 'tank/db1')
  lunar.ok('present', 'tank/db', '--host', 'db1')
  lunar.ok('snap', 'configure', 'tank/db', 'image')
  lunar.ok('SetCompleteImageDelay', '200', 'tank/1')
  const flushed = new Map<number, number>()
  const written = new Map<number, number>()
  let last = 0

  for (let kill = 0; kill <= KILLS; kill++) {
    const server = await serve(lunar, ['tank', '--socket', `db1=${lunar.path('db1.sock')}`])
    if (kill === 1) {
      lunar.ok('EnableSnap', 'tank/1')
      lunar.ok('StartCompleteImage', 'tank/1')
    }
    if (kill % 3 === 2) lunar.ok('snap', 'create', `tank/db@s${kill}`)
    const running = lunar.json<TaskView[]>('task', 'list', '--pool', 'tank').filter(({ kind, state }) => kind === 'completeImage' && state !== 'done')
    if (kill === 2) expect(running, 'what ran in the background goes on').toHaveLength(1)
    const child = spawn('nbdsh', ['-u', server.uri('db1', 'db'), '-c', `seed, first = ${SEED + kill}, ${last}`, '-c', writer], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: clientEnv,
    })
    lunar.children.push(child)
    const ended = once(child, 'close')
    let errors = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      errors += text
    })
    child.stdin.end([...written].map(([block, high]) => `${block} ${flushed.get(block) ?? 0} ${high}\n`).join(''))
    let text = ''
    let flushes = 0
    let checked = false
    // After some flushes and in the middle of whatever comes then; the last server is stopped in good order.
    const flushesWanted = 1 + (random.u32() % 12)
    const since = new Map<number, number>()
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
      const lines = text.split('\n')
      text = lines.pop()!
      for (const line of lines) {
        const [what, block, number] = line.split(' ') as [string, string?, string?]
        if (what === 'checked') checked = true
        if (what === 'w') {
          last = Number(number)
          since.set(Number(block), last)
          written.set(Number(block), last)
        }
        if (what === 'f') {
          for (const [covered, at] of since) flushed.set(covered, at)
          since.clear()
          if (++flushes === flushesWanted) server.child.kill(kill === KILLS ? 'SIGTERM' : 'SIGKILL')
        }
      }
    })
    await ended
    expect(checked, errors).toBe(true)
    expect(await server.ended).toBe(kill === KILLS ? 0 : 'SIGKILL')
  }
  expect(lunar.ok('metadata', 'check', 'tank')).toContain('whole')
})

import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

/**
 * Every example that `--help` shows is run, command by command, in a folder with a pool `tank` as the examples assume it:
 * four disks, LUNs db (raid1, written) and web (raid0), a task 1 that has ended, an image to import and a block to write.
 * Relationship 1 ("nightly", db to db-copy) is enabled, 2 (db to db-test) configured, 3 (web to web-test) is being completed by
 * the paused task 2; archive and web-copy are images of nothing yet. web has the snapshots frozen (read-only), rw (a view of it) and old;
 * the stores spare and snapshots-raid1 are empty. web is presented to host web1; nothing to host db2. tls has certificates, tokens one for the HTTP API.
 */
const manifest = JSON.parse(readFileSync('oclif.manifest.json', 'utf8')) as { commands: Record<string, { examples?: string[] }> }
const base = mkdtempSync(join(tmpdir(), 'lunar-examples-'))
const work = join(base, 'work')
const kept = join(base, 'kept')
const bin = join(base, 'bin')
const env = { ...process.env, LUNAR_HOME: join(work, 'home'), LUNAR_POOL: '', NO_COLOR: '1', PATH: `${bin}${delimiter}${process.env['PATH'] ?? ''}` }

function run(line: string): { status: number | null; stderr: string } {
  const { status, stderr } = spawnSync('bash', ['-c', line], { cwd: work, env, encoding: 'utf8', timeout: 25_000 })
  return { status, stderr }
}

/** Copies the folder with its sparse images; paths stay the same, so the registry stays right. */
function restore(from: string, to: string): void {
  rmSync(to, { recursive: true, force: true })
  const copied = spawnSync('cp', ['-a', '--sparse=always', from, to], { encoding: 'utf8' })
  expect(copied.stderr).toBe('')
}

beforeAll(() => {
  expect(existsSync('dist/lunar.cjs'), 'the bundle is built: npm run build').toBe(true)
  mkdirSync(bin)
  writeFileSync(join(bin, 'lunar'), `#!/bin/sh\nexec "${process.execPath}" "${resolve('bin/lunar.cjs')}" "$@"\n`)
  chmodSync(join(bin, 'lunar'), 0o755)
  mkdirSync(work)
  writeFileSync(join(work, 'disk.img'), Buffer.alloc(3 * 1024 * 1024, 'image'))
  writeFileSync(join(work, 'block.bin'), Buffer.alloc(4096, 'block'))
  for (const line of [
    'lunar pool create tank d1.img d2.img d3.img d4.img --size 1GiB',
    'lunar lun create tank/db --size 384MiB --raid raid1',
    'lunar lun create tank/web --size 64MiB --raid raid0',
    'lunar lun write tank/db disk.img',
    'lunar lun create tank/gone --size 8MiB --raid raid0',
    'lunar lun write tank/gone block.bin',
    'lunar lun delete tank/gone --yes',
    'lunar task wait 1 --pool tank',
    ...['db-copy', 'db-test', 'archive'].map(name => `lunar lun create tank/${name} --size 384MiB --raid raid0`),
    ...['web-copy', 'web-test'].map(name => `lunar lun create tank/${name} --size 64MiB --raid raid0`),
    'lunar snap configure tank/db db-copy --name nightly',
    'lunar snap configure tank/db db-test',
    'lunar snap configure tank/web web-test',
    'lunar EnableSnap tank/1 3',
    'lunar SetCompleteImageDelay 0 tank/1',
    'lunar StartCompleteImage tank/3',
    'lunar task pause tank/2',
    'lunar wod create tank/once --on lun --size 64MiB',
    'lunar snap create tank/web@frozen --read-only',
    'lunar snap create tank/web@old',
    'lunar snap create tank/web@rw --of web@frozen',
    'lunar store create tank/spare --raid raid1',
    'lunar store create tank/snapshots-raid1 --raid raid1',
    ...['web1', 'db2'].map(name => `lunar host add tank/${name}`),
    'lunar present tank/web --host web1',
    'mkdir tls && cd tls && openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=server -keyout server-key.pem -out server-cert.pem && cp server-cert.pem ca-cert.pem',
    'umask 077 && echo "monitor $(openssl rand -hex 32) read-only" > tokens',
  ]) {
    expect(run(line), line).toMatchObject({ status: 0 })
  }
  restore(work, kept)
}, 60_000)
afterAll(() => {
  rmSync(base, { recursive: true, force: true })
})

/** What runs until it is stopped is stopped once it has written a line: a server that it listens, who follows events the first of them. */
const untilListening = (line: string): string => `coproc SERVER { exec ${line}; }; pid=$SERVER_PID; read -r listens <&"\${SERVER[0]}"`

/** The lines of a command's examples, with what they need around them. */
function linesOf(id: string, examples: readonly string[]): string[] {
  const endless = (line: string): boolean => id === 'serve' || line.includes('--follow')
  if (examples.some(endless)) return examples.map(line => (endless(line) ? `${untilListening(line)}; kill -TERM $pid; wait $pid` : line))
  if (id === 'server:stop') return [`${untilListening('lunar serve tank')}; ${examples.join(' && ')}`]
  if (id.startsWith('snap:schedule:') && !id.endsWith(':create'))
    return [...['hourly', 'nightly'].map(name => `lunar snap schedule create tank/${name} --lun db --cron "0 * * * *" --keep hourly=24`), ...examples]
  return [...examples]
}

describe.each(Object.entries(manifest.commands))('%s', (id, { examples }) => {
  test('its examples run as they stand', () => {
    expect(examples?.length, `${id} has two or three examples`).toBeGreaterThan(0)
    if (id === 'pool:create') {
      rmSync(work, { recursive: true })
      mkdirSync(work)
    } else restore(kept, work)
    for (const line of linesOf(id, examples ?? [])) expect(run(line), line).toMatchObject({ status: 0 })
  })
})

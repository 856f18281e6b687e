/** The description of the control socket is true: every verb takes what it says there, and answers that and nothing else. */
import { mkdtempSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { KIB, MIB } from '../../../src/core/base/units.ts'
import type { LockView, Params, RstoreSummary, Verb } from '../../../src/core/server/api.ts'
import { createPool, openService, startServer } from '../../../src/core/server/front.ts'
import { verbKinds } from '../../../src/core/server/verbs.ts'
import { ajv, compiled, description, expectDescribed } from '../../support/openapi.ts'

let folder = ''
let home: string | undefined
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lunar-api-'))
  home = process.env.LUNAR_HOME
  process.env.LUNAR_HOME = join(folder, 'home')
})
afterEach(() => {
  if (home === undefined) delete process.env.LUNAR_HOME
  else process.env.LUNAR_HOME = home
  rmSync(folder, { recursive: true, force: true })
})

/** As `curl --unix-socket SOCKET http://lunar/v1/call/VERB -d BODY`: no session, no header of ours. */
const post = (socketPath: string, path: string, body: string): Promise<{ status: number; answer: unknown }> =>
  new Promise((resolve, reject) => {
    const asked = request({ socketPath, path, method: 'POST', headers: { 'content-length': Buffer.byteLength(body), 'user-agent': 'curl/8' } }, response => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
      response.once('end', () => {
        resolve({ status: response.statusCode!, answer: JSON.parse(text) })
      })
    })
    asked.once('error', reject)
    asked.end(body)
  })

test('every verb is described, and answers as it is described to whoever can reach the socket', { timeout: 60_000 }, async () => {
  expect(description.openapi).toBe('3.1.0')
  const verbs = Object.keys(verbKinds).sort()
  expect(Object.keys(description.paths).flatMap(path => /^\/v1\/call\/(.+)$/.exec(path)?.[1] ?? [])).toEqual(expect.arrayContaining(verbs))

  const disk = (name: string): { path: string; size: number } => ({ path: join(folder, name), size: 256 * MIB })
  await createPool({ name: 'tank', disks: ['d0', 'd1', 'd2', 'd3'].map(disk), command: 'test' })
  const server = await startServer({ pools: ['tank'], command: 'test', sockets: [], passed: [], log: () => undefined })
  const stopped = server.run(new AbortController().signal)
  const view = await openService('tank', { mode: 'view', command: 'test' })
  const { socket } = (await view.call('lock.show', {})).data.holder as NonNullable<LockView['holder']>
  await view.close()

  const asked = new Set<string>()
  const check = (verb: Verb, part: 'params' | 'reply', value: unknown): void => {
    expectDescribed(`/v1/call/${verb}`, part, value)
  }
  const ask = async <V extends Verb>(verb: V, params: Params<V>): Promise<{ task: number; number: number; name: string }> => {
    check(verb, 'params', params)
    const { status, answer } = await post(socket, `/v1/call/${verb}`, JSON.stringify(params))
    expect.soft(status, `${verb}: ${JSON.stringify(answer)}`).toBe(200)
    check(verb, 'reply', answer)
    asked.add(verb)
    return (answer as { data: { task: number; number: number; name: string } }).data
  }

  for (const verb of ['pool.list', 'pool.show', 'pool.metrics', 'disk.list', 'server.status', 'lock.show', 'host.list'] as const) await ask(verb, {})
  await ask('pool.set', { settings: { comment: 'x' } })
  await ask('host.add', { host: 'db1' })
  await ask('host.set', { host: 'db1', settings: { iops: '1000' } })
  for (const name of ['db', 'copy', 'other']) await ask('lun.create', { name, size: 8 * MIB, raid: 'raid1' })
  await ask('lun.create', { name: 'mixed', size: 8 * MIB, ranges: [{ offset: 0, length: 4 * MIB, raid: 'raid1' }, { offset: 4 * MIB, length: null, raid: 'raid0' }] }) // prettier-ignore
  const writer = await openService('tank', { mode: 'owner', command: 'test' })
  const device = await writer.openLun('db')
  await device.write(0, Buffer.alloc(2 * MIB, 7))
  await device.flush()
  await device.close()
  await writer.close()
  await ask('lun.list', {})
  await ask('lun.show', { lun: 'mixed' })
  await ask('volume.show', { volume: 'db' })
  await ask('lun.map', { lun: 'db' })
  await ask('lun.zero', { lun: 'other', offset: 0, length: MIB })
  await ask('lun.trim', { lun: 'other', offset: 0, length: MIB })
  await ask('lun.resize', { lun: 'other', size: 16 * MIB })
  await ask('lun.rename', { lun: 'other', name: 'another' })
  await ask('lun.set', { lun: 'another', settings: { 'on-full': 'drop' } })
  await ask('lun.protect', { lun: 'another', protect: true })
  await ask('lun.protect', { lun: 'another', protect: false })
  await ask('lun.incomplete', { lun: 'another', incomplete: false })
  await ask('lun.swap', { lun: 'another', with: 'mixed' })
  await ask('rstore.list', {})
  const [store] = (await ask('rstore.list', { lun: 'db' })) as unknown as RstoreSummary[]
  await ask('rstore.show', { lun: 'db', store: store!.number })
  await ask('rstore.verify', { lun: 'db' })
  await ask('rstore.repair', { lun: 'db' })
  await ask('volume.present', { volume: 'another', host: 'db1' })
  await ask('host.show', { host: 'db1' })
  await ask('volume.unpresent', { volume: 'another' })
  await ask('host.remove', { host: 'db1' })

  const { number } = await ask('snap.configure', { source: 'db', image: 'copy', name: 'nightly' })
  const relationship = String(number)
  await ask('snap.setDelay', { relationship, kind: 'completeImage', delay: 3_600_000 })
  await ask('snap.enable', { relationships: [relationship] })
  for (const verb of ['snap.config', 'snap.activeConfig', 'snap.maps'] as const) await ask(verb, { relationship })
  const { task } = await ask('snap.start', { relationship, kind: 'completeImage' })
  await ask('snap.status', { relationship })
  await ask('pool.status', {})
  await ask('task.list', {})
  await ask('task.show', { task })
  await ask('task.pause', { task })
  await ask('task.resume', { task })
  await ask('task.stop', { task })
  await ask('snap.setDelay', { relationship, kind: 'completeImage', delay: 0 })
  await ask('task.wait', { task: (await ask('snap.start', { relationship, kind: 'completeImage' })).task })
  await ask('snap.stop', { relationship, kind: 'completeImage' })
  await ask('snap.list', {})
  await ask('snap.disable', { relationships: [relationship] })
  await ask('snap.unconfigure', { relationship })

  await ask('snap.create', { snapshots: ['db@a'], readOnly: true, chunkBytes: 4 * KIB })
  await ask('snap.create', { snapshots: ['db@b'] })
  await ask('snap.snapshots', {})
  await ask('snap.snapshot', { snapshot: 'db@a' })
  await ask('snap.diff', { from: 'db@a', to: 'db@b' })
  await ask('snap.refresh', { snapshot: 'db@b' })
  const [restored] = (await ask('snap.restore', { snapshots: ['db@a'] })) as unknown as { task: number }[]
  await ask('task.wait', { task: restored!.task })
  await ask('task.wait', { task: (await ask('snap.clone', { source: 'db@a', name: 'clone', delay: 0 })).task })
  await ask('snap.rotate', { volumes: ['db'], keepLast: 1, forceMany: true, dryRun: true })
  await ask('snap.delete', { snapshots: ['db@b'], count: true })
  await ask('schedule.create', { name: 'often', luns: ['db'], cron: '0 * * * *', keepLast: 2 })
  await ask('schedule.list', {})
  await ask('schedule.pause', { schedule: 'often' })
  await ask('schedule.resume', { schedule: 'often' })
  await ask('schedule.run', { schedule: 'often' })
  await ask('schedule.show', { schedule: 'often' })
  await ask('schedule.delete', { schedule: 'often' })
  await ask('store.create', { name: 'chunks', raid: 'raid1' })
  await ask('store.list', {})
  await ask('store.show', { store: 'chunks' })
  await ask('store.resize', { store: 'chunks', size: 64 * MIB })
  await ask('store.compact', { store: 'chunks' })
  await ask('store.delete', { store: 'chunks' })
  await ask('wod.create', { name: 'once', on: 'file', size: 4 * MIB, path: join(folder, 'once.wod') })
  await ask('wod.list', {})
  await ask('wod.show', { wod: 'once' })
  await ask('wod.reallocate', { wod: 'once' })
  await ask('wod.delete', { wod: 'once' })
  await ask('disk.add', { disks: [disk('d4')] })
  await ask('disk.show', { disk: '4' })
  await ask('disk.label', { disk: '4', domain: 'rack1' })
  await ask('disk.offline', { disk: '4' })
  await ask('disk.online', { disk: '4' })
  await ask('disk.replace', { disk: '4', with: disk('d5') })
  await ask('disk.remove', { disk: '5', dryRun: true })
  await ask('lun.delete', { lun: 'another' })
  for (const verb of ['metadata.check', 'metadata.dump', 'pool.events', 'pool.history'] as const) await ask(verb, {})
  await ask('pool.destroy', { dryRun: true })
  // Who asks without a session is in the history as whoever he says he is.
  const history = (await ask('pool.history', { limit: 1 })) as unknown as { command: string; verb: string }[]
  expect(history).toEqual([expect.objectContaining({ command: 'curl/8', verb: 'lun.delete' })])

  const refused = await post(socket, '/v1/call/lun.show', '{"lun":"nothing"}')
  expect(refused).toMatchObject({ status: 422, answer: { code: 'ERR_LUN_NOT_FOUND' } })
  const { responses } = description.paths['/v1/call/lun.show']!.post!
  const validate = compiled(responses['422']!.content['application/json'].schema)
  expect(validate(refused.answer), ajv.errorsText(validate.errors)).toBe(true)

  await ask('server.stop', {})
  await stopped
  const owner = await openService('tank', { mode: 'owner', command: 'test' })
  check('pool.close', 'params', {})
  check('pool.close', 'reply', await owner.call('pool.close', {}))
  await owner.close()
  expect([...asked, 'pool.close'].sort()).toEqual(verbs)
})

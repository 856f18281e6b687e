/** `lun show` by volume id and by partition, and the column of `lun list`. */
import { expect, test } from 'vitest'
import { MemoryDevice } from '../../src/core/block/memory.ts'
import { lun, lunDetail } from '../core/cli/objects.ts'
import { lunar, type Options } from '../core/cli/surroundings.ts'
import { mbrImage } from '../support/partition-tables.ts'

const MIB = 1024 * 1024
const { id } = lun('db', MIB)

async function options(): Promise<Options> {
  const device = new MemoryDevice(MIB)
  await device.write(0, mbrImage(MIB, [{ type: 0x83, start: 8, count: 16 }]))
  return {
    answers: { 'lun.list': () => [lun('web', MIB, { id: id.replace('1', '2') }), lun('db', MIB)], 'lun.show': () => lunDetail('db', MIB) },
    openLun: (_name, how) => {
      expect(how).toEqual({ readOnly: true, mixed: true })
      return Promise.resolve(device)
    },
  }
}

test('the whole LUN by its id needs no owner', async () => {
  const { status, out, opened, calls } = await lunar(['lun', 'show', '--volume-id', id.toUpperCase()], await options())
  expect({ status, modes: opened.map(({ mode }) => mode) }).toEqual({ status: 0, modes: ['view'] })
  expect(calls.at(-1)).toEqual({ verb: 'lun.show', params: { lun: 'db' } })
  expect(out).toMatch(new RegExp(`volume id: +${id}\\n`))
})

test.each([
  ['lun', 'show', 'tank/db', '--partition', '1'],
  ['lun', 'show', '--volume-id', `${id}/p1`],
])('a partition: lunar %s %s %s %s', async (...argv) => {
  const { status, out, opened } = await lunar([...argv, '--json'], await options())
  expect({ status, modes: opened.map(({ mode }) => mode) }).toEqual({ status: 0, modes: ['owner'] })
  expect((JSON.parse(out) as { data: unknown }).data).toMatchObject({
    name: 'db',
    volumeId: `${id}/p1`,
    partition: { number: 1, table: 'mbr', offset: 4096, length: 8192, type: '83' },
  })
  expect((await lunar(argv, await options())).out).toMatch(/partition offset: +4 KiB\npartition length: +8 KiB/)
})

test.each([
  { argv: ['lun', 'show'], status: 2, err: 'give either a LUN or --volume-id' },
  { argv: ['lun', 'show', 'db', '--volume-id', id], status: 2, err: 'give either a LUN or --volume-id' },
  { argv: ['lun', 'show', '--volume-id', id, '--partition', '1'], status: 2, err: 'the id says which partition' },
  { argv: ['lun', 'show', '--volume-id', 'db'], status: 2, err: 'volume id' },
  { argv: ['lun', 'show', '--volume-id', id.replaceAll('1', '3')], status: 3, err: 'ERR_LUN_NOT_FOUND' },
  { argv: ['lun', 'show', 'db', '--partition', '2'], status: 3, err: 'ERR_PARTITION_NOT_FOUND' },
])('refused: $argv', async ({ argv, status, err }) => {
  const outcome = await lunar(argv, await options())
  expect({ status: outcome.status, opened: outcome.opened.length === outcome.closed }).toEqual({ status, opened: true })
  expect(outcome.err).toContain(err)
})

test('lun list has a column', async () => {
  expect((await lunar(['lun', 'list', '-H', '-o', 'name,volume-id', '--sort', 'name'], await options())).out.split('\n')[0]).toBe(`db\t${id}`)
})

/** docs/on-disk-format.md says what the code does: its tables are those of the code, also the ones written by hand. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { formatUuid, uuidBytes } from '../../src/core/base/uuid.ts'
import { Batch, encodeBatch, MERGE, PATCH } from '../../src/metadata/batch.ts'
import { magicOf } from '../../src/metadata/block.ts'
import { encodeNode, Inner, INNER_ENTRY, Leaf, leafEntrySize, NODE_HEADER, nodeCrc } from '../../src/metadata/node.ts'

const root = join(import.meta.dirname, '..', '..')
const document = join(root, 'docs', 'on-disk-format.md')
const text = readFileSync(document, 'utf8')
const folder = mkdtempSync(join(tmpdir(), 'lunar-format-'))
afterAll(() => {
  rmSync(folder, { recursive: true })
})

const check = (file: string): { status: number | null; stderr: string } =>
  spawnSync(process.execPath, [join(root, 'scripts', 'format-doc.mjs'), '--check', file], { encoding: 'utf8' })

describe('generated tables', () => {
  test('are what the field tables say', () => {
    expect(check(document)).toMatchObject({ status: 0, stderr: '' })
  })

  test.each([
    ['an offset', '| 64 | 16 | uuid | `diskId` |', '| 63 | 16 | uuid | `diskId` |'],
    ['a meaning', 'the newer copy wins', 'the older copy wins'],
    ['a figure', '| largest value of a record | 960 bytes |', '| largest value of a record | 961 bytes |'],
  ])('%s that is changed is found', (_, from, to) => {
    const file = join(folder, 'changed.md')
    expect(text).toContain(from)
    writeFileSync(file, text.replace(from, to))
    const { status, stderr } = check(file)
    expect(status).toBe(1)
    expect(stderr).toMatch(/line \d+: a table is not what the code says/)
  })

  test('a table that is left out is found', () => {
    const file = join(folder, 'short.md')
    writeFileSync(file, text.replace(/<!-- table: root -->[\s\S]*?<!-- end -->/, ''))
    expect(check(file).stderr).toContain('the document has no place for: root')
  })
})

interface Row {
  readonly offset: number
  readonly bytes: number
  readonly type: string
}

/** The rows of a table that is written by hand, by field, and where its fixed part ends. */
function checkedTable(name: string): { fields: Map<string, Row>; end: number } {
  const table = new RegExp(`<!-- checked: ${name} -->\\n([\\s\\S]*?)<!-- end -->`).exec(text)?.[1]
  if (table === undefined) throw new Error(`the document has no table ${name}`)
  const fields = new Map<string, Row>()
  let end = 0
  for (const line of table.split('\n').slice(2)) {
    const [, offset = '', bytes = '', type = '', field = ''] = line.split('|').map(cell => cell.trim())
    if (offset === '') continue
    expect(Number(offset), `${name}: no gap and no overlap before ${field}`).toBe(end)
    end = Number(offset) + Number(bytes)
    if (field !== '') fields.set(field.replaceAll('`', ''), { offset: Number(offset), bytes: Number(bytes), type })
  }
  return { fields, end }
}

const widths: Record<string, number> = { u8: 1, u16: 2, u32: 4, u64: 8, uuid: 16 }

/** What the bytes say, read with nothing but the table. */
function readAll(name: string, bytes: Uint8Array, base = 0): Record<string, number | string> {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const values: Record<string, number | string> = {}
  for (const [field, row] of checkedTable(name).fields) {
    expect(row.bytes, `${name}: width of ${field}`).toBe(widths[row.type])
    const at = base + row.offset
    if (row.type === 'uuid') values[field] = formatUuid(buffer.subarray(at, at + 16))
    else if (row.type === 'u64') values[field] = Number(buffer.readBigUInt64LE(at))
    else values[field] = buffer.readUIntLE(at, row.bytes)
  }
  return values
}

describe('tables written by hand', () => {
  const poolId = '01234567-89ab-4cde-8f01-23456789abcd'

  test('a leaf', () => {
    const leaf = new Leaf()
    leaf.his.push(0x3_0000_0007, 0x4_0000_0001)
    leaf.los.push(5, 2 ** 40)
    leaf.values.push(Uint8Array.of(1, 2, 3), Uint8Array.of(9))
    const block = encodeNode(leaf, poolId, 3 * 2 ** 24 + 11, 77)
    expect(readAll('node', block)).toEqual({ crc: nodeCrc(block), magic: magicOf('node'), poolId, address: 3 * 2 ** 24 + 11, sequence: 77, level: 0, count: 2 })
    const { end } = checkedTable('node')
    const entry = checkedTable('leafEntry').end
    expect(end).toBe(NODE_HEADER)
    expect(readAll('leafEntry', block, end)).toEqual({ hi: 0x3_0000_0007, lo: 5, valueLength: 3 })
    expect([...block.subarray(end + entry, end + entry + 3)]).toEqual([1, 2, 3])
    expect(entry + 3).toBe(leafEntrySize(Uint8Array.of(1, 2, 3)))
    expect(readAll('leafEntry', block, end + entry + 3)).toEqual({ hi: 0x4_0000_0001, lo: 2 ** 40, valueLength: 1 })
  })

  test('a block above the leaves', () => {
    const inner = new Inner(2)
    for (const i of [1, 2]) {
      inner.his.push(i)
      inner.los.push(i * 10)
      inner.pointers.push({ address: i * 2 ** 24, crc: i * 1000 })
      inner.children.push(undefined)
    }
    const block = encodeNode(inner, poolId, 2 ** 24, 1)
    expect(readAll('node', block)).toMatchObject({ level: 2, count: 2 })
    const { end } = checkedTable('innerEntry')
    expect(end).toBe(INNER_ENTRY)
    for (const i of [1, 2])
      expect(readAll('innerEntry', block, NODE_HEADER + (i - 1) * end)).toEqual({ hi: i, lo: i * 10, childAddress: i * 2 ** 24, childCrc: i * 1000 })
  })

  test('a batch', () => {
    const key = { hi: 0x5_0000_0002, lo: 9 }
    const batch = new Batch().patch(key, 12, Uint8Array.of(7, 8), 128).delete(key).merge(key, 3, 0xf0, 0x50, 64)
    const bytes = new Uint8Array(batch.size)
    expect(encodeBatch(batch, bytes, 0)).toBe(batch.size)
    const head = checkedTable('batch').end
    const header = checkedTable('operation').end
    expect(readAll('batch', bytes)).toEqual({ length: batch.size - head, count: 3 })
    expect(readAll('operation', bytes, head)).toEqual({ op: PATCH, valueLength: 2, at: 12, size: 128, ...key })
    expect([...bytes.subarray(head + header, head + header + 2)]).toEqual([7, 8])
    expect(readAll('operation', bytes, head + 2 * header + 2)).toEqual({ op: MERGE, valueLength: 2, at: 3, size: 64, ...key })
    expect([...bytes.subarray(head + 3 * header + 2)]).toEqual([0xf0, 0x50])
  })

  test('ids are in the order of their text', () => {
    expect([...uuidBytes(poolId)].slice(0, 4)).toEqual([0x01, 0x23, 0x45, 0x67])
  })
})

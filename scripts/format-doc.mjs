/**
 * The tables of docs/on-disk-format.md, written from the field tables that the program reads and writes disks with. Each
 * stands between `<!-- table: NAME -->` and `<!-- end -->`.
 *
 *   node scripts/format-doc.mjs [FILE]           writes them again
 *   node scripts/format-doc.mjs --check [FILE]   fails when one is not what the code says
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'esbuild'
import { root } from './setup.mjs'

const KIB = 1024
const MIB = 1024 * KIB
const GIB = 1024 * MIB

/** The exports of TypeScript modules, compiled in memory. */
async function load(...files) {
  const contents = files.map(file => `export * from './${file}'`).join('\n')
  const result = await build({
    stdin: { contents, resolveDir: root },
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    logLevel: 'warning',
  })
  return import(`data:text/javascript;base64,${Buffer.from(result.outputFiles[0].contents).toString('base64')}`)
}

const code = await load(
  ...['block', 'layout', 'label', 'lock-record', 'root', 'journal', 'node', 'batch', 'key', 'records', 'event', 'history', 'parity-group', 'parity-window'].map(
    name => `src/metadata/${name}.ts`,
  ),
  'src/core/raid/geometry.ts',
)

const tableOf = (head, rows) => [head, head.map(() => '---'), ...rows].map(row => `| ${row.join(' | ')} |`).join('\n')

function bytes(count) {
  for (const [unit, name] of [
    [GIB, 'GiB'],
    [MIB, 'MiB'],
    [KIB, 'KiB'],
  ])
    if (count >= unit && count % unit === 0) return `${count / unit} ${name}`
  return String(count)
}

/** The fields of a structure in the order of their bytes; what lies between them is reserved. */
function structTable(struct) {
  const rows = []
  let at = 0
  const gap = to => {
    if (to > at) rows.push([at, to - at, '', '', 'reserved'])
    at = to
  }
  for (const [name, field] of Object.entries(struct.fields).sort(([, a], [, b]) => a.offset - b.offset)) {
    gap(field.offset)
    rows.push([field.offset, field.length, field.type, `\`${name}\``, field.about])
    at = field.offset + field.length
  }
  gap(struct.size)
  return `${struct.size} bytes.\n\n${tableOf(['offset', 'bytes', 'type', 'field', 'meaning'], rows)}`
}

function areas() {
  const { LABEL_AT, LOCK_RECORD_AT, BLOCK, ROOTS_AT, ROOT_COUNT, JOURNAL_AT, JOURNAL_SMALL, JOURNAL_LARGE, OWNER_RECORD, SEGMENT } = code
  const afterLock = LOCK_RECORD_AT + BLOCK
  return tableOf(
    ['offset', 'bytes', 'what'],
    [
      [LABEL_AT, BLOCK, 'label, first copy'],
      [LOCK_RECORD_AT, BLOCK, 'lock record'],
      [afterLock, ROOTS_AT - afterLock, 'reserved'],
      [ROOTS_AT, ROOT_COUNT * BLOCK, `ring of ${ROOT_COUNT} roots`],
      [JOURNAL_AT, `${JOURNAL_SMALL} or ${JOURNAL_LARGE}`, `room for the journal: ${bytes(JOURNAL_LARGE)} on disks that are large enough and no witness`],
      ['`ownersAt`', `${OWNER_RECORD} a segment`, 'room for owner records'],
      ['`segmentsAt`, a multiple of 1 MiB', `${SEGMENT} each`, 'segments; a witness has none'],
      [`the recorded size rounded down to ${BLOCK}, less ${BLOCK}`, BLOCK, 'label, second copy'],
    ],
  )
}

function examples() {
  const sizes = [
    [code.WITNESS_SIZE_MIN, true],
    [code.DISK_SIZE_MIN, false],
    [GIB, false],
    [16 * GIB, false],
    [1024 * GIB, false],
  ]
  return tableOf(
    ['disk', 'journal room', '`ownersAt`', '`segmentsAt`', 'segments', 'second label at'],
    sizes.map(([size, witness]) => {
      const layout = code.diskLayout(size, witness)
      return [
        `${bytes(size)}${witness ? ', a witness' : ''}`,
        bytes(layout.journalRoom),
        layout.ownersAt,
        witness ? '' : layout.segmentsAt,
        layout.segmentCount,
        layout.labelEndAt,
      ]
    }),
  )
}

function magics() {
  const hex = number => `0x${number.toString(16)}`
  return tableOf(
    ['block', 'seed and magic', 'bytes 4 to 7'],
    ['label', 'lock', 'root', 'journal', 'node', 'wod', 'parityLog', 'parityWindow'].map(kind => {
      const magic = Buffer.alloc(4)
      magic.writeUInt32LE(code.magicOf(kind))
      return [kind, hex(code.magicOf(kind)), `\`${magic.toString('latin1')}\``]
    }),
  )
}

const ops = () =>
  tableOf(
    ['op', 'name', 'what it does'],
    [
      [code.PUT, 'put', 'the record has this value'],
      [code.DELETE, 'delete', 'the record is gone; no value'],
      [code.PATCH, 'patch', 'bytes `at` and following of the value become these; a missing or shorter value is first filled with zeros to `size`'],
      [code.MERGE, 'merge', 'the value is a mask and bits: in byte `at` the bits of the mask become these; filled like a patch'],
    ],
  )

const kinds = () =>
  tableOf(
    ['number', 'kind'],
    Object.entries(code.kinds).map(([name, number]) => [number, name]),
  )

const named = numbers =>
  Object.entries(numbers)
    .map(([name, number]) => `${number} ${name}`)
    .join(', ')

const figures = () =>
  tableOf(
    ['figure', 'value'],
    [
      ['metadata block', `${code.BLOCK} bytes`],
      ['largest value of a record', `${code.VALUE_MAX} bytes`],
      ['largest batch', `${code.BATCH_MAX} bytes`],
      ['largest payload of a journal block', `${code.PAYLOAD_MAX} bytes`],
      ['quorum disks', `at most ${code.MEMBERS_MAX}`],
      ['metadata stores', `at most ${code.STORES_MAX}, each in at most ${code.COPIES_MAX} copies`],
      ['slices in an LMAP record', code.LMAP_SLICES],
      ['redundant stores in an RSD record', code.RSD_STORES],
      ['segments in a segment-map record', code.SEGMENTS_PER_RECORD],
      ['states of a segment', named(code.segmentStates)],
      ['stores in an open record', code.OPEN_STORES],
      ['redundancy types', named(code.raidTypes)],
      ['chunks in a record of a chunk map', code.CHUNKS_PER_RECORD],
      ['blocks in a record of the map of a write-once device', code.WOD_BLOCKS],
      ['events kept', code.EVENTS_KEPT],
      ['changes kept in the history', code.HISTORY_KEPT],
      ['segment', bytes(code.SEGMENT)],
      ['stripe unit', bytes(code.UNIT)],
      ['columns of a redundant store', code.COLUMNS],
      ['slice', `${bytes(code.SLICE)}, which takes ${bytes(code.SLICE_ON_MEMBER)} on each member`],
      ['redundant store', `${code.SLICES} slices`],
    ],
  )

const structs = [
  code.labelFields,
  code.lockRecordFields,
  code.rootFields,
  code.memberFields,
  code.storeFields,
  code.placeFields,
  code.departureFields,
  code.journalFields,
  code.poolRecord,
  code.diskRecord,
  code.lunRecord,
  code.rangeFields,
  code.rsdFields,
  code.rsdMember,
  code.processRecord,
  code.relationshipRecord,
  code.wodRecord,
  code.wodFileLabel,
  code.snapshotRecord,
  code.treeRecord,
  code.mapEntry,
  code.slotsRecord,
  code.hostRecord,
  code.presentationRecord,
  code.scheduleRecord,
  code.parityGroupFields,
  code.parityEntryFields,
  code.parityPieceFields,
  code.parityWindowFields,
]

const tables = new Map([
  ['areas', areas],
  ['examples', examples],
  ['magics', magics],
  ['ops', ops],
  ['kinds', kinds],
  ['figures', figures],
  ...structs.map(struct => [struct.name, () => structTable(struct)]),
])

/** @returns the document with every table made new. @throws Error when a table has no place in it, or a place no table */
function withTables(text) {
  const seen = new Set()
  const made = text.replace(/<!-- table: (\w+) -->\n[\s\S]*?<!-- end -->/g, (_, name) => {
    const table = tables.get(name)
    if (!table) throw new Error(`there is no table "${name}"`)
    seen.add(name)
    return `<!-- table: ${name} -->\n${table()}\n<!-- end -->`
  })
  const absent = [...tables.keys()].filter(name => !seen.has(name))
  if (absent.length > 0) throw new Error(`the document has no place for: ${absent.join(', ')}`)
  return made
}

const [file = join(root, 'docs', 'on-disk-format.md')] = process.argv.slice(2).filter(arg => arg !== '--check')
const text = readFileSync(file, 'utf8')
const made = withTables(text)
if (!process.argv.includes('--check')) {
  writeFileSync(file, made)
} else if (made !== text) {
  const before = text.split('\n')
  const line = made.split('\n').findIndex((now, i) => now !== before[i])
  process.stderr.write(`${file}, line ${line + 1}: a table is not what the code says: node scripts/format-doc.mjs\n`)
  process.exitCode = 1
}

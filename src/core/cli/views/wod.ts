import type { WodDetail, WodSummary } from '../../server/api.ts'
import type { Column } from '../columns.ts'
import { line, type DetailView } from '../details.ts'

export const wodColumns: readonly Column<WodSummary>[] = [
  { key: 'name', kind: 'text', get: row => row.name, about: 'name of the device' },
  { key: 'on', kind: 'text', get: row => row.on, about: 'what it lies on: file, vdisk, lun or store' },
  { key: 'size', kind: 'size', get: row => row.size, about: 'bytes of its addresses' },
  { key: 'block', kind: 'size', get: row => row.blockBytes, about: 'bytes that take one write' },
  { key: 'written', kind: 'size', get: row => row.written, about: 'bytes of blocks that are written' },
  { key: 'image-of', kind: 'text', get: row => row.imageOf, about: 'LUN whose image it is' },
  { key: 'created', kind: 'text', get: row => row.created, about: 'when it was made', extra: true },
  { key: 'number', kind: 'count', get: row => row.number, about: 'number of the device', extra: true },
]

export const wodView = (wod: WodDetail): DetailView => ({
  details: [
    line('name', wod.name),
    line('state', wod.state, 'state'),
    line('on', wod.on),
    line('path', wod.path),
    line('raid', wod.raid),
    line('size', wod.size, 'size'),
    line('block', wod.blockBytes, 'size'),
    line('written', wod.written, 'size'),
    line('used', wod.used, 'size'),
    line('image of', wod.imageOf),
    line('relationship', wod.relationship, 'count'),
    line('number', wod.number, 'count'),
    line('id', wod.id),
    line('created', wod.created),
    line('emptied', wod.emptied),
  ],
})

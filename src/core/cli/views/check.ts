import type { CheckView } from '../../server/api.ts'
import { line, section, type DetailView } from '../details.ts'

export const checkView = (check: CheckView): DetailView => ({
  details: [
    line('metadata', check.ok ? 'whole' : 'contradicts itself'),
    line('generation', check.generation, 'count'),
    line('blocks checked', check.checked.blocks, 'count'),
    line('records checked', check.checked.records, 'count'),
    line('LUNs checked', check.checked.luns, 'count'),
    line('stores checked', check.checked.stores, 'count'),
    line('segments checked', check.checked.segments, 'count'),
    line('problems', check.problems.length, 'count'),
  ],
  sections: [
    section('problems', check.problems, [
      { key: 'code', kind: 'text', get: row => row.code, about: 'what kind' },
      { key: 'object', kind: 'text', get: row => row.object, about: 'where' },
      { key: 'message', kind: 'text', get: row => row.message, about: 'a sentence' },
    ]),
  ],
})

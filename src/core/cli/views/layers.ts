import type { LayerView, LunLayers } from '../../server/api.ts'
import type { Column } from '../columns.ts'
import { section, type DetailView } from '../details.ts'

interface LayerRow extends LayerView {
  readonly depth: number
}

/** The tree as lines, outermost first, each layer below the one that calls it. */
const rowsOf = (layers: readonly LayerView[], depth = 0): LayerRow[] => layers.flatMap(layer => [{ ...layer, depth }, ...rowsOf(layer.below, depth + 1)])

const columns: readonly Column<LayerRow>[] = [
  { key: 'layer', kind: 'text', get: row => `${'  '.repeat(row.depth)}${row.layer.replaceAll('-', ' ')}`, about: 'layer, below what calls it' },
  { key: 'about', kind: 'text', get: row => row.about, about: 'what it does here' },
]

export const layerSections = ({ ways, volume }: LunLayers): NonNullable<DetailView['sections']> => [
  section('ways in', rowsOf(ways), columns),
  section('layers', rowsOf(volume), columns),
]

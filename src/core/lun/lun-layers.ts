import type { LayerView } from '../block/layers.ts'
import { formatSize } from '../base/units.ts'
import type { TypeRange } from './ranges.ts'

const words = { raid0: 'no redundancy', raid1: 'mirror (2 copies)', raid5: 'parity (4 columns and 1 parity)' } as const

const redundancy = ({ raid, stripe }: Pick<TypeRange, 'raid' | 'stripe'>): LayerView => ({
  layer: 'redundancy',
  about: `${stripe > 1 ? `${stripe} stores interleaved by 1 MiB, each: ` : ''}${words[raid]}, stripes of 4 columns in units of 64 KiB, segments of 2 MiB`,
  below: [],
})

/** What a LUN consists of: its redundancy, by range where it has several types. */
export function partsOf(ranges: readonly TypeRange[]): readonly LayerView[] {
  if (ranges.length === 1) return [redundancy(ranges[0]!)]
  return ranges.map(({ offset, length, ...type }) => ({
    layer: 'range',
    about: `${formatSize(offset)} to ${length === null ? 'the end' : formatSize(offset + length)}`,
    below: [redundancy(type)],
  }))
}

/** `--range`: a file of its own, because few commands have it. */
import * as Flags from '@oclif/core/flags'
import { parseRanges, type TypeRange } from '../lun/ranges.ts'

const ranges = Flags.custom<TypeRange[]>({ parse: text => new Promise(resolve => resolve(parseRanges(text))), helpValue: 'FROM-TO:TYPE[:stripe=N],...' })
export const rangeFlag = () =>
  ranges({ description: 'redundancy types by address: 0-1GiB:raid1,1GiB-:raid5; stripe=2 interleaves two redundant stores', exclusive: ['raid'] })

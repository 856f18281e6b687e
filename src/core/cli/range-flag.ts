/** `--range` and `--stripe`: a file of their own, because few commands have them. */
import * as Flags from '@oclif/core/flags'
import { parseRanges, type TypeRange } from '../lun/ranges.ts'
import { numberFlag } from './flags.ts'

const ranges = Flags.custom<TypeRange[]>({ parse: text => new Promise(resolve => resolve(parseRanges(text))), helpValue: 'FROM-TO:TYPE[:stripe=N],...' })
export const rangeFlag = () =>
  ranges({ description: 'redundancy types by address: 0-1GiB:raid1,1GiB-:raid5; stripe=2 interleaves two redundant stores', exclusive: ['raid'] })

export const stripeFlag = () => ({
  ...numberFlag('interleave so many redundant stores, up to 255, so that sequential work has all of their disks'),
  dependsOn: ['raid'],
})

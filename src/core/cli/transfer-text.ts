import { formatSize } from '../base/units.ts'
import { formatSeconds } from './cells.ts'

/** `64 MiB, 12 MiB moved, 52 MiB holes, 0.1s, 120 MiB/s, verified`. */
export function describeTransfer(result: {
  readonly size: number
  readonly moved: number
  readonly holes: number
  readonly seconds: number
  readonly verified: boolean
}): string {
  const rate = result.seconds > 0 ? `, ${formatSize(Math.round(result.moved / result.seconds))}/s` : ''
  const holes = result.holes > 0 ? `, ${formatSize(result.holes)} holes` : ''
  return `${formatSize(result.size)}, ${formatSize(result.moved)} moved${holes}, ${formatSeconds(result.seconds)}${rate}${result.verified ? ', verified' : ''}`
}

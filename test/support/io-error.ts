import { LunarError } from '../../src/core/base/errors.ts'

/** What a disk reports when it fails. */
export const ioError = (what: string): LunarError => new LunarError('ERR_IO', `Cannot reach the disk: ${what}`, { why: what })

/** Import and export of a device, between files, block devices and pipes. */
export { exportFrom, type ExportOptions } from './export.ts'
export { importInto, sourceSize, type ImportOptions } from './import.ts'
export type { TransferProgress, TransferResult } from './transfer-run.ts'

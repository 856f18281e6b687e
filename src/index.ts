/**
 * Lunar as a library. Everything that the commands do, typed; each call asks the process that owns the pool, or becomes it.
 *
 * @module lunar
 */
export { isErrorCode, type ErrorCode, type ErrorEntry } from './core/base/error-table.ts'
export { isCode, LunarError, type ErrorDetail, type ErrorWire } from './core/base/errors.ts'
export type { BlockDevice, Extent, ExtentKind } from './core/block/device.ts'
export type { TransferProgress, TransferResult } from './core/lun/transfer.ts'
export type * from './core/server/api.ts'
export type { CreatePoolParams, ImportParams } from './core/server/front.ts'
export type { ImportedPool } from './core/server/import-pools.ts'
export type { ImportResult } from './core/server/lun-import.ts'
export type { CallOptions, ChangeOptions } from './library/asker.ts'
export type { Disks } from './library/disks.ts'
export type { LunDevice } from './library/lun-device.ts'
export type { ExportLunOptions, ImportLunOptions, LunRange, Luns, NewLun, OpenLunOptions, TransferOptions } from './library/luns.ts'
export { openPool, openPools, type OpenPoolOptions } from './library/open-pool.ts'
export type { Pool, PoolMetadata, Rstores, Tasks } from './library/pool.ts'
export { createPool, destroyPool, explainError, exportPool, importPools, listPools, type ImportPoolsOptions, type NewPool } from './library/pools.ts'
export type {
  ActiveMaps,
  Disabled,
  Enabled,
  EnableForce,
  EnableOptions,
  NewRelationship,
  Relationship,
  RelationshipReference,
  Relationships,
  Started,
  StartOptions,
} from './library/relationships.ts'
export type { CloneSpec, KeepRules, MadeSnapshot, NewSnapshots, NewStore, RestoreSpec, Snapshots, Stores } from './library/snapshots.ts'
export type { NewSchedule, RunScheduleOptions, Schedules } from './library/schedules.ts'
export type { Hosts, PresentOptions, UnpresentOptions } from './library/hosts.ts'
export { startServer, stopServer, type RunningServer, type StartServerOptions } from './library/server.ts'
export * from './library/table2.ts'

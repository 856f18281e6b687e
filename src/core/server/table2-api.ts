import type { ByteRange, Delay, RelationshipConfig, RelationshipStatus, Result, TaskView } from './api.ts'

/** A handle that `DcsPITDeviceCreateHandle` gave. */
interface Handle {
  readonly handle: string
}

interface StartParams extends Handle {
  /** Answers when the process has ended. */
  readonly wait?: boolean
  /** Of updates: name of a read-only snapshot that is taken of the volume before it is overwritten. */
  readonly keepBefore?: string
}

interface DelayParams extends Handle {
  /** 0 to 3600000, or `adaptive`. */
  readonly ms: Delay
}

/** A volume by number: `disk` is the number that its pool gave it for life, `partition` 0 the whole, n the nth GPT or MBR entry inside. */
interface Place {
  readonly disk: number
  readonly partition: number
}

/** Bytes. */
interface Stopped {
  readonly done: number
  readonly left: number
}

/** The functions of Table 2 of US 9,087,013 as the control socket and the HTTP API have them: one route each. */
export interface Table2 {
  /** Binds a handle to a relationship that exists; while it is open nobody can unconfigure that. It ends with the owner of the pool, or when nobody used it for an hour. */
  DcsPITDeviceCreateHandle: { params: { relationship: string }; result: { handle: string; number: number } }
  /** Lets the relationship go; closing twice is harmless. */
  DcsPITDeviceCloseHandle: { params: Handle; result: null }
  /** Enables: with the maps that are kept, or anew with `fresh` and the first time. `lost` are ranges of the image that read the source from now on. */
  DcsPITDeviceEnable: { params: Handle & { fresh?: boolean }; result: { asOf: string; lost: ByteRange[] } }
  /** Takes the relationship out of all I/O; maps and chunks are kept. */
  DcsPITDeviceDisable: { params: Handle; result: null }
  /** The settings as they are stored. */
  DcsPITDeviceGetConfigure: { params: Handle; result: RelationshipConfig }
  /** The settings in use. Refused when it is disabled. */
  DcsPITDeviceGetActiveConfigure: { params: Handle; result: Result<'snap.activeConfig'> }
  /** State, percent different, percent complete, and what runs. */
  DcsPITDeviceGetStatus: { params: Handle; result: RelationshipStatus }
  /** The size of map and chunk, and the two bitmaps of one instant (base64): chunk i is bit i & 7, low bit first, of byte i >> 3. */
  DcsPITDeviceGetActiveMaps: {
    params: Handle
    result: { chunks: number; chunkBlocks: number; migrated: string; delta: string; generation: number }
  }
  /** Starts copying every chunk that the image lacks. Null when there is nothing to do. */
  DcsPITDeviceStartImageCompletion: { params: Handle & { wait?: boolean }; result: TaskView | null }
  /** Starts bringing the image to the source of now. Null when there is nothing to do. */
  DcsPITDeviceStartImageUpdate: { params: StartParams; result: TaskView | null }
  /** Starts bringing the source to its image. Null when there is nothing to do. */
  DcsPITDeviceStartSourceUpdate: { params: StartParams; result: TaskView | null }
  /** Stops after the chunk in hand; what is copied stays. */
  DcsPITDeviceAbortImageCompletion: { params: Handle; result: Stopped }
  /** Stops after the chunk in hand; the image stays mixed until an update ends. */
  DcsPITDeviceAbortImageUpdate: { params: Handle; result: Stopped }
  /** Stops after the chunk in hand; the source stays mixed until an update ends. */
  DcsPITDeviceAbortSourceUpdate: { params: Handle; result: Stopped }
  /** Sets the pause between chunks, while it runs too. */
  DcsPITDeviceDelayImageCompletion: { params: DelayParams; result: { was: Delay } }
  /** Sets the pause between chunks, while it runs too. */
  DcsPITDeviceDelayImageUpdate: { params: DelayParams; result: { was: Delay } }
  /** Sets the pause between chunks, while it runs too. */
  DcsPITDeviceDelaySourceUpdate: { params: DelayParams; result: { was: Delay } }
  /** The id of a volume or of a partition inside of it; always the same for the same. */
  DcsPMGenerateVolumeID: { params: Place; result: string }
  /** The name of the export in which a volume, or the partition inside of it, is served. */
  DcsPMGetSDSVolumeID: { params: Place; result: string }
  /** The ids of all volumes of the pool. */
  DcsPMListVolumes: { params: object; result: string[] }
  /** What an id means: the inverse of DcsPMGenerateVolumeID. */
  DcsPMTranslateVolumeID: { params: { id: string }; result: Place & { readonly pool: string } }
}

export type Table2Function = keyof Table2
export type Table2Params<F extends Table2Function> = Table2[F]['params']
export type Table2Result<F extends Table2Function> = Table2[F]['result']

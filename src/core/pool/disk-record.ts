import type { Disk } from '../block/device.ts'
import { LABEL_WITNESS, type Label } from '../../metadata/label.ts'
import { diskLayout, FORMAT_VERSION, SEGMENT } from '../../metadata/layout.ts'
import { DISK_WITNESS, type DiskRecord } from '../../metadata/records.ts'
import { SLICE } from '../raid/geometry.ts'
import type { SetPlace } from './sets.ts'

/** The record and label of a disk that joins a pool. */
export function describeDisk(
  spec: { disk: Disk; witness: boolean; domain: string },
  of: { poolId: string; poolName: string; number: number; diskId: string; nowMs: number; place: SetPlace | undefined },
): { record: DiskRecord; label: Label } {
  const layout = diskLayout(spec.disk.size, spec.witness)
  return {
    record: {
      diskId: of.diskId,
      size: spec.disk.size,
      segmentsAt: layout.segmentsAt,
      segmentCount: layout.segmentCount,
      journalRoom: layout.journalRoom,
      state: 0,
      flags: spec.witness ? DISK_WITNESS : 0,
      ldad: 0,
      redundancySet: of.place?.set ?? 0,
      redundancyIndex: of.place?.index ?? 0,
      domain: spec.domain,
      addedMs: of.nowMs,
      stateSinceMs: of.nowMs,
      errors: 0,
      reason: '',
      logSegment: 0,
      logSegments: 0,
    },
    label: {
      version: FORMAT_VERSION,
      featuresCompatible: 0,
      featuresReadOnly: 0,
      featuresIncompatible: 0,
      generation: 1,
      poolId: of.poolId,
      diskId: of.diskId,
      poolName: of.poolName,
      domain: spec.domain,
      diskNumber: of.number,
      ldad: 0,
      redundancySet: of.place?.set ?? 0,
      redundancyIndex: of.place?.index ?? 0,
      flags: spec.witness ? LABEL_WITNESS : 0,
      state: 0,
      size: spec.disk.size,
      segmentSize: SEGMENT,
      sliceSize: SLICE,
      journalRoom: layout.journalRoom,
      ownersAt: layout.ownersAt,
      segmentsAt: layout.segmentsAt,
      segmentCount: layout.segmentCount,
      createdMs: of.nowMs,
    },
  }
}

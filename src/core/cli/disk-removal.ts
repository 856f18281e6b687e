/** What `disk remove` and `disk replace` say and wait for. */
import { formatSize } from '../base/units.ts'
import type { PoolService, RemovedDisk } from '../server/api.ts'
import type { Progress } from './progress.ts'
import { requireDone } from './relationship-commands.ts'
import { watchTask } from './watch-task.ts'

/** Waits until a disk has left and what the others lacked is made. @throws LunarError as `watchTask`, `ERR_TASK_STATE` when it is paused */
export async function waitForRemoval(service: PoolService, { task }: RemovedDisk, progress: (what: string) => Progress, signal: AbortSignal): Promise<void> {
  if (task !== null) requireDone((await watchTask(service, task, progress('moving what lies on the disk'), signal)).data)
  const { data: tasks } = await service.call('task.list', {}, signal)
  const resync = tasks.find(({ kind, state }) => kind === 'resync' && (state === 'running' || state === 'waiting'))
  if (resync) requireDone((await watchTask(service, resync.number, progress('making redundancy whole'), signal)).data)
}

/** `64 MiB: 40 MiB of LUN db, 24 MiB of LUN web`. */
export function movesText(moves: RemovedDisk['moves']): string {
  const total = moves.reduce((sum, { bytes }) => sum + bytes, 0)
  if (total === 0) return 'nothing of a LUN'
  return `${formatSize(total)}: ${moves.map(({ lun, bytes }) => `${formatSize(bytes)} of LUN ${lun}`).join(', ')}`
}

/** How far the leaving of a disk is. */
export const removalText = ({ number, task }: RemovedDisk, waited: boolean): string =>
  waited ? `Disk ${number} has left the pool` : `Disk ${number} leaves the pool; task ${task ?? '-'} moves what lies on it (lunar task wait ${task ?? '-'})`

/** Waits for a task and shows how far it is. */
import { systemClock } from '../base/clock.ts'
import type { PoolService, Reply, TaskView } from '../server/api.ts'
import type { Progress } from './progress.ts'

const LOOK_EVERY_MS = 500

/** @throws LunarError `ERR_TASK_FAILED`, `ERR_TASK_STOPPED`, `ERR_TASK_NOT_FOUND`; `ERR_INTERRUPTED` when `signal` aborts */
export async function watchTask(service: PoolService, task: number, progress: Progress, signal: AbortSignal): Promise<Reply<TaskView>> {
  const ended = new AbortController()
  const wait = service.call('task.wait', { task }, signal).finally(() => ended.abort())
  const look = (async () => {
    while (!ended.signal.aborted) {
      await systemClock.pause(LOOK_EVERY_MS, ended.signal)
      if (ended.signal.aborted) return
      const { data } = await service.call('task.show', { task }, ended.signal)
      progress.update(data.done, data.total)
    }
  })()
  const [result, looked] = await Promise.allSettled([wait, look])
  if (result.status === 'fulfilled') progress.update(result.value.data.done, result.value.data.total)
  progress.end()
  if (result.status === 'rejected') throw result.reason
  if (looked.status === 'rejected' && !signal.aborted && !ended.signal.aborted) throw looked.reason
  return result.value
}

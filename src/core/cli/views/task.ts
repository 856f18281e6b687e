import type { TaskView } from '../../server/api.ts'
import type { Column } from '../columns.ts'
import { line, type DetailView } from '../details.ts'

export const taskColumns: readonly Column<TaskView>[] = [
  { key: 'task', kind: 'count', get: row => row.number, about: 'number of the task' },
  { key: 'kind', kind: 'text', get: row => row.kind, about: 'resync, reclaim, …' },
  { key: 'target', kind: 'text', get: row => row.target, about: 'what it works on' },
  { key: 'state', kind: 'state', get: row => row.state, about: 'running, waiting, paused, done, failed or stopped' },
  { key: 'percent', kind: 'percent', get: row => row.percent, about: 'how far it is' },
  { key: 'done', kind: 'size', get: row => row.done, about: 'bytes done' },
  { key: 'total', kind: 'size', get: row => row.total, about: 'bytes to do in all' },
  { key: 'rate', kind: 'rate', get: row => row.rate, about: 'bytes a second over the last seconds' },
  { key: 'eta', kind: 'seconds', get: row => row.eta, about: 'time left' },
  { key: 'started', kind: 'text', get: row => row.started, about: 'when it began', extra: true },
  { key: 'ended', kind: 'text', get: row => row.ended, about: 'when it ended', extra: true },
  { key: 'reason', kind: 'text', get: row => row.reason, about: 'why it waits, failed or stopped', extra: true },
]

export const taskView = (task: TaskView): DetailView => ({
  details: [
    line('task', task.number, 'count'),
    line('kind', task.kind),
    line('target', task.target),
    line('state', task.state, 'state'),
    line('percent', task.percent, 'percent'),
    line('done', task.done, 'size'),
    line('total', task.total, 'size'),
    line('rate', task.rate, 'rate'),
    line('time left', task.eta, 'seconds'),
    line('started', task.started),
    line('ended', task.ended),
    line('reason', task.reason),
  ],
})

import type { LockView } from '../../server/api.ts'
import { line, section, type DetailView } from '../details.ts'

export const lockView = (lock: LockView): DetailView => ({
  details: [
    line('pool', lock.pool),
    line('held', lock.held),
    ...(lock.holder === null
      ? []
      : [
          line('pid', lock.holder.pid, 'count'),
          line('host', lock.holder.host),
          line('command', lock.holder.command),
          line('kind', lock.holder.kind),
          line('since', lock.holder.since),
          line('version', lock.holder.version),
          line('socket', lock.holder.socket),
        ]),
  ],
  sections: [
    section('disks', lock.disks, [
      { key: 'disk', kind: 'count', get: row => row.disk, about: 'number' },
      { key: 'locked', kind: 'text', get: row => row.locked, about: 'whether a process holds its lock' },
      { key: 'path', kind: 'text', get: row => row.path, about: 'path' },
    ]),
  ],
})

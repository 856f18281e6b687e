/** Objects as the engine would return them. */
import type { DiskSummary, LunDetail, LunSummary, PoolDetail, PoolStatus, TaskView } from '../../../src/core/server/api.ts'

const MIB = 1024 * 1024

export const lun = (name: string, size: number, more: Partial<LunSummary> = {}): LunSummary => ({
  number: 1,
  name,
  id: '11111111-1111-4111-8111-111111111111',
  size,
  raid: 'raid1',
  ranges: [{ offset: 0, length: null, raid: 'raid1' }],
  bound: 2 * MIB,
  used: 4 * MIB,
  thin: true,
  state: 'normal',
  presentedTo: [],
  created: '2026-11-21T06:00:00.000Z',
  ...more,
})

export const lunDetail = (name: string, size: number, more: Partial<LunDetail> = {}): LunDetail => ({
  ...lun(name, size),
  health: 'healthy',
  lost: 0,
  stale: 0,
  stores: 1,
  ldad: 'main',
  disks: [{ disk: 0, used: 2 * MIB }],
  settings: [{ key: 'on-full', value: 'stop', from: 'default' }],
  held: { throttled: 0, throttledMs: 0, queued: 0, queuedMs: 0 },
  layers: { ways: [], volume: [{ layer: 'lun', about: 'thin', below: [{ layer: 'redundancy', about: 'mirror (2 copies)', below: [] }] }] },
  protected: false,
  relationships: [],
  ...more,
})

export const disk = (number: number, more: Partial<DiskSummary> = {}): DiskSummary => ({
  number,
  id: `22222222-2222-4222-8222-22222222222${number}`,
  path: `/pools/d${number}.img`,
  state: 'normal',
  witness: false,
  quorum: true,
  domain: null,
  redundancySet: 0,
  redundancyIndex: number,
  size: 1024 * MIB,
  used: 10 * MIB,
  free: 900 * MIB,
  stale: 0,
  errors: 0,
  ...more,
})

export const pool = (more: Partial<PoolDetail> = {}): PoolDetail => ({
  name: 'tank',
  id: '33333333-3333-4333-8333-333333333333',
  health: 'healthy',
  disks: 4,
  luns: 2,
  size: 4096 * MIB,
  used: 40 * MIB,
  free: 4056 * MIB,
  created: '2026-11-21T06:00:00.000Z',
  generation: 7,
  formatVersion: 1,
  lastWrite: '2026-11-21T06:10:00.000Z',
  quorum: [{ disk: 0, name: 'd0.img', state: 'normal', witness: false }],
  largest: [
    { raid: 'raid0', size: 4000 * MIB },
    { raid: 'raid1', size: 2000 * MIB },
  ],
  sets: [
    { ldad: 'default', set: 0, disks: [0, 1, 2, 3].map(number => ({ disk: number, index: number, state: 'normal' })), size: 4096 * MIB, free: 4056 * MIB },
  ],
  astride: 0,
  settings: [{ key: 'resync-rate', value: 0, from: 'default' }],
  metadata: { used: MIB, size: 16 * MIB, copies: 2 },
  ...more,
})

export const status = (more: Partial<PoolStatus> = {}): PoolStatus => ({
  name: 'tank',
  health: 'healthy',
  generation: 7,
  lastWrite: '2026-11-21T06:10:00.000Z',
  astride: 0,
  owner: null,
  disks: [disk(0)],
  luns: [],
  relationships: [],
  devices: [],
  droppedSnapshots: [],
  schedules: [],
  tasks: [],
  messages: [],
  ...more,
})

export const task = (number: number, more: Partial<TaskView> = {}): TaskView => ({
  number,
  kind: 'resync',
  target: 'disk 0',
  state: 'done',
  done: 10 * MIB,
  total: 10 * MIB,
  percent: 100,
  rate: 0,
  eta: null,
  started: '2026-11-21T06:00:00.000Z',
  ended: '2026-11-21T06:01:00.000Z',
  reason: null,
  ...more,
})

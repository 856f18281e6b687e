import { expect, it } from 'vitest'
import { randomUuid } from '../../src/core/base/uuid.ts'
import { clearLockRecord, lockRecordFields, readLockRecord, writeLockRecord, type LockRecord } from '../../src/metadata/lock-record.ts'
import { sealBlock } from '../../src/metadata/block.ts'
import { ScratchDisk } from '../../src/core/server/scratch-disk.ts'

const record = (): LockRecord => ({
  kind: 'on-demand',
  readOnly: true,
  pid: 4711,
  identity: { machineId: randomUuid(), bootId: randomUuid(), pidNamespace: 4_026_531_836, startTicks: 123_456 },
  sinceMs: 1_790_000_000_000,
  poolId: randomUuid(),
  instance: randomUuid(),
  version: '0.1.0',
  socket: '/run/lunar/0123456789ab.sock',
  host: 'alpha',
  command: 'lun import db x.img',
})

it('reads back what was written, until it is cleared', async () => {
  const disk = new ScratchDisk('d', 1 << 20)
  const id = randomUuid()
  expect(await readLockRecord(disk, id)).toBeUndefined()
  const written = record()
  await writeLockRecord(disk, id, written)
  expect(await readLockRecord(disk, id)).toEqual(written)
  expect(await readLockRecord(disk, randomUuid())).toBeUndefined()
  await clearLockRecord(disk)
  expect(await readLockRecord(disk, id)).toBeUndefined()
})

it('cuts what is too long between characters', async () => {
  const disk = new ScratchDisk('d', 1 << 20)
  const id = randomUuid()
  await writeLockRecord(disk, id, { ...record(), command: `x${'ü'.repeat(600)}` })
  expect((await readLockRecord(disk, id))!.command).toBe(`x${'ü'.repeat(255)}`)
})

it('takes a changed byte, a number beyond 2^53, a newer record and a short disk for none', async () => {
  const disk = new ScratchDisk('d', 1 << 20)
  const id = randomUuid()
  const block = new Uint8Array(4096)
  const none = async (change: (block: Uint8Array) => void, seal: boolean): Promise<void> => {
    await writeLockRecord(disk, id, record())
    await disk.read(4096, block)
    change(block)
    if (seal) sealBlock('lock', block)
    await disk.write(4096, block)
    expect(await readLockRecord(disk, id)).toBeUndefined()
  }
  await none(bytes => (bytes[100]! ^= 1), false)
  await none(bytes => bytes.fill(255, lockRecordFields.fields.sinceMs.offset, lockRecordFields.fields.sinceMs.offset + 8), true)
  await none(bytes => (bytes[lockRecordFields.fields.recordVersion.offset] = 2), true)
  expect(await readLockRecord(new ScratchDisk('s', 4096), id)).toBeUndefined()
})

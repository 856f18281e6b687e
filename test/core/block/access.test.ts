import { describe, expect, test } from 'vitest'
import { AccessLayer } from '../../../src/core/block/access.ts'
import { BlockLayer, fastOf } from '../../../src/core/block/device.ts'
import { layersOf } from '../../../src/core/block/layers.ts'
import { MemoryDevice } from '../../../src/core/block/memory.ts'
import { blockDeviceSuite } from '../../conformance/block-device.ts'

const size = 4 * 1024 * 1024
const label = (): string => 'LUN "db"'

blockDeviceSuite('AccessLayer', async () => {
  const memory = new MemoryDevice(size)
  return { device: new AccessLayer(memory, false, label), dispose: () => memory.close() }
})

describe('an access layer', () => {
  const block = new Uint8Array(512).fill(7)

  test('for reading refuses every change and says of what, and lets all else through', async () => {
    const memory = new MemoryDevice(size)
    const layer = new AccessLayer(memory, true, label)
    const changes = [layer.write(0, block), layer.writev(0, [block]), layer.zero(0, 512), layer.trim(0, 512)]
    for (const change of changes) await expect(change).rejects.toMatchObject({ code: 'ERR_READ_ONLY', message: 'Cannot write to LUN "db"' })
    await memory.write(0, block)
    const into = new Uint8Array(512)
    await layer.read(0, into)
    await layer.flush()
    expect(into).toEqual(block)
    expect((await layer.extents(0, 512))[0]).toMatchObject({ kind: 'data' })
  })

  test('offers requests at once where the device below does, and none that it would refuse', async () => {
    const asked: string[] = []
    class Quick extends BlockLayer {
      tryRead = (): boolean => asked.push('read') > 0
      tryWrite = (): boolean => asked.push('write') > 0
    }
    const [writer, reader] = [false, true].map(isReadOnly => fastOf(new AccessLayer(new Quick(new MemoryDevice(size)), isReadOnly, label))!)
    expect([writer!.tryRead(0, block), writer!.tryWrite(0, block), reader!.tryRead(0, block), reader!.tryWrite(0, block)]).toEqual([true, true, true, false])
    expect(asked).toEqual(['read', 'write', 'read'])
    await (writer as AccessLayer).close()
    expect([writer!.tryRead(0, block), writer!.tryWrite(0, block)]).toEqual([false, false])
  })

  test('is one of the layers that are shown, as far down as is asked for; what does nothing is passed over', () => {
    const shared = Object.assign(new MemoryDevice(size), {
      shown: { layer: 'lun', about: 'thin' },
      consistsOf: [{ layer: 'redundancy', about: 'mirror', below: [] }],
    } as const)
    const idle = Object.assign(new BlockLayer(shared), { shown: undefined, below: shared })
    const top = new AccessLayer(idle, true, label)
    const lun = { layer: 'lun', about: 'thin', below: [{ layer: 'redundancy', about: 'mirror', below: [] }] }
    expect(layersOf(top)).toEqual([{ layer: 'access', about: 'read-only', below: [lun] }])
    expect(layersOf(top, shared)).toEqual([{ layer: 'access', about: 'read-only', below: [] }])
  })
})

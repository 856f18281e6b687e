/** Partition tables inside of a volume: what tools write is found, nonsense is refused. */
import { crc32 } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { MemoryDevice } from '../../../src/core/block/memory.ts'
import { findPartition, type Partition } from '../../../src/core/lun/partitions.ts'
import { gptImage, LINUX, mbrImage } from '../../support/partition-tables.ts'

const SIZE = 1024 * 1024

async function find(image: Buffer, number: number, blockSize = 512): Promise<Partition> {
  const device = new MemoryDevice(image.length, blockSize)
  await device.write(0, image)
  return findPartition(device, number, 'LUN "a"')
}

const why = (image: Buffer, number: number): Promise<string> =>
  find(image, number).then(
    () => 'found',
    (error: unknown) => {
      expect(error).toMatchObject({ code: 'ERR_PARTITION_NOT_FOUND' })
      return (error as { why: string }).why
    },
  )

describe('MBR', () => {
  const image = mbrImage(SIZE, [
    { type: 0x83, start: 64, count: 100 },
    { type: 0x0f, start: 200, count: 1000 },
  ])
  const logical = (at: number, own: { type: number; start: number; count: number }, next?: { type: number; start: number; count: number }): void => {
    mbrImage(512, next ? [own, next] : [own]).copy(image, at * 512)
  }
  logical(200, { type: 0x83, start: 1, count: 9 }, { type: 0x05, start: 50, count: 20 })
  logical(250, { type: 0x82, start: 2, count: 8 })

  test('primary and logical partitions', async () => {
    expect(await find(image, 1)).toEqual({ number: 1, table: 'mbr', offset: 64 * 512, length: 100 * 512, type: '83', name: null })
    expect(await find(image, 2)).toMatchObject({ type: '0f', offset: 200 * 512 })
    expect(await find(image, 5)).toMatchObject({ type: '83', offset: 201 * 512, length: 9 * 512 })
    expect(await find(image, 6)).toMatchObject({ type: '82', offset: 252 * 512 })
  })

  test.each([
    [3, 'no such entry'],
    [7, 'no such entry'],
    [1000, 'no such entry'],
  ])('there is no partition %i', async (number, text) => {
    expect(await why(image, number)).toContain(text)
  })

  test('nonsense is refused', async () => {
    expect(await why(mbrImage(SIZE, [{ type: 0x83, start: 64, count: 4_000_000_000 }]), 1)).toContain('the volume has 1048576')
    expect(await why(mbrImage(SIZE, [{ type: 0x83, start: 0, count: 10 }]), 1)).toContain('its entry says')
    expect(await why(mbrImage(SIZE, [{ type: 0x83, start: 10, count: 0 }]), 1)).toContain('its entry says')
    expect(await why(Buffer.alloc(SIZE), 1)).toContain('no partition table')
    const fileSystem = mbrImage(SIZE, [{ type: 0x83, start: 64, count: 8 }])
    fileSystem[446] = 0x6f // code where an entry would say whether it is active
    expect(await why(fileSystem, 1)).toContain('no partition table')
    const loop = mbrImage(SIZE, [{ type: 0x05, start: 100, count: 1000 }])
    mbrImage(512, [
      { type: 0x83, start: 1, count: 1 },
      { type: 0x05, start: 0, count: 1 },
    ]).copy(loop, 100 * 512)
    expect(await why(loop, 6)).toContain('lead nowhere')
    await expect(find(image, 0)).rejects.toMatchObject({ code: 'ERR_USAGE' })
    await expect(find(image, 1.5)).rejects.toMatchObject({ code: 'ERR_USAGE' })
  })
})

describe.each([512, 4096])('GPT with sectors of %i', sector => {
  const partitions = [{ first: 40, last: 59, name: 'boot' }, undefined, { first: 64, last: 127, name: 'größe' }]
  const make = (): Buffer => gptImage(SIZE, sector, partitions)

  test('partitions by their place in the table', async () => {
    expect(await find(make(), 1, sector)).toEqual({ number: 1, table: 'gpt', offset: 40 * sector, length: 20 * sector, type: LINUX, name: 'boot' })
    expect(await find(make(), 3, sector)).toMatchObject({ offset: 64 * sector, length: 64 * sector, name: 'größe' })
    expect(await why(make(), 2)).toContain('no such entry')
    expect(await why(make(), 129)).toContain('no such entry')
  })

  test('the copy at the end serves when the first is damaged, and nothing when both are', async () => {
    const image = make()
    image[sector + 60]! ^= 1
    expect(await find(image, 1, sector)).toMatchObject({ offset: 40 * sector })
    image[image.length - sector + 60]! ^= 1
    expect(await why(image, 1)).toContain('both copies')
  })

  test('a damaged entry is not believed', async () => {
    const image = make()
    image[2 * sector + 32]! ^= 4
    expect(await find(image, 1, sector)).toMatchObject({ offset: 40 * sector }) // the other copy
  })

  test('an entry outside of what the table uses is refused, though its checksums are right', async () => {
    expect(await why(gptImage(SIZE, sector, [{ first: 1, last: 50, name: '' }]), 1)).toContain('outside of what the GPT uses')
    expect(await why(gptImage(SIZE, sector, [{ first: 50, last: 49, name: '' }]), 1)).toContain('outside of what the GPT uses')
    expect(await why(gptImage(SIZE, sector, [{ first: 50, last: 1e9, name: '' }]), 1)).toContain('outside of what the GPT uses')
  })

  test('a header that counts beyond the volume is refused', async () => {
    const image = make()
    for (const at of [sector, image.length - sector]) {
      image.writeUInt32LE(0xffff_ffff, at + 80)
      image.writeUInt32LE(0, at + 16)
      image.writeUInt32LE(crc32(image.subarray(at, at + 92)), at + 16)
    }
    expect(await why(image, 1)).toContain('both copies')
  })
})

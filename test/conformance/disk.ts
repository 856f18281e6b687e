/** What every disk must do beyond a block device. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Disk } from '../../src/core/block/device.ts'
import { blockDeviceSuite, stamp } from './block-device.ts'

export interface DiskFixture {
  readonly device: Disk
  /** Another handle on the same bytes, where there can be one. */
  again?(): Promise<Disk>
  dispose(): Promise<void>
}

/** @param make a fresh disk that reads as zeros, of at least 4 MiB */
export function diskSuite(name: string, make: () => Promise<DiskFixture>, runs?: number): void {
  blockDeviceSuite(name, make, runs)
  describe(`${name} as a disk`, () => {
    let fixture: DiskFixture
    let disk: Disk
    beforeEach(async () => {
      fixture = await make()
      disk = fixture.device
    })
    afterEach(() => fixture.dispose())

    const read = async (offset: number, length: number): Promise<Buffer> => {
      const into = Buffer.alloc(length, 0xa5)
      await disk.read(offset, into)
      return into
    }

    test('a durable write can be read at once, also between plain writes', async () => {
      await disk.write(0, stamp(0, 8192, 1))
      await disk.writeDurable(4096, stamp(4096, 4096, 2))
      expect((await read(0, 4096)).equals(stamp(0, 4096, 1))).toBe(true)
      expect((await read(4096, 4096)).equals(stamp(4096, 4096, 2))).toBe(true)
      await disk.write(4096, stamp(4096, 512, 3))
      expect((await read(4096, 512)).equals(stamp(4096, 512, 3))).toBe(true)
    })

    test('reserve keeps contents and size', async () => {
      const size = disk.size
      await disk.write(65536, stamp(65536, 65536, 1))
      await disk.reserve(0, 2 * 1024 * 1024)
      const found = await read(0, 262144)
      expect(found.subarray(65536, 131072).equals(stamp(65536, 65536, 1))).toBe(true)
      expect(found.subarray(0, 65536).every(byte => byte === 0)).toBe(true)
      expect(found.subarray(131072).every(byte => byte === 0)).toBe(true)
      expect(disk.size).toBe(size)
    })

    test('punch makes zeros, at any multiple of the block size', async () => {
      await disk.write(0, stamp(0, 262144, 1))
      await disk.punch(512, 100 * 1024)
      const found = await read(0, 262144)
      expect(found.subarray(0, 512).equals(stamp(0, 512, 1))).toBe(true)
      expect(found.subarray(512, 512 + 100 * 1024).every(byte => byte === 0)).toBe(true)
      expect(found.subarray(512 + 100 * 1024).equals(stamp(0, 262144, 1).subarray(512 + 100 * 1024))).toBe(true)
    })

    test('punched space takes writes again', async () => {
      await disk.write(0, stamp(0, 65536, 1))
      await disk.punch(0, 65536)
      await disk.write(4096, stamp(4096, 4096, 2))
      const found = await read(0, 65536)
      expect(found.subarray(4096, 8192).equals(stamp(4096, 4096, 2))).toBe(true)
      expect(found.subarray(0, 4096).every(byte => byte === 0)).toBe(true)
    })

    test('what lies beyond the end is an I/O error, never zeros', async () => {
      await expect(disk.read(disk.size, new Uint8Array(512))).rejects.toMatchObject({ code: 'ERR_IO' })
      await expect(disk.read(disk.size - 512, new Uint8Array(1024))).rejects.toMatchObject({ code: 'ERR_IO' })
    })

    test('two handles on one file have one identity', async () => {
      if (!fixture.again) return expect(disk.identity).not.toBe('')
      const other = await fixture.again()
      expect(other.identity).toBe(disk.identity)
      await disk.write(0, stamp(0, 4096, 9))
      const into = Buffer.alloc(4096)
      await other.read(0, into)
      expect(into.equals(stamp(0, 4096, 9))).toBe(true)
      await other.close()
    })
  })
}

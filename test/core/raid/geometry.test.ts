import fc from 'fast-check'
import { expect, test } from 'vitest'
import { COLUMNS, columnParts, columnPieces, SLICE, SLICE_ON_MEMBER, STORE, UNIT } from '../../../src/core/raid/geometry.ts'

/** The byte's column and place there, straight from the definition: units of 64 KiB in turn on four columns. */
const placeOf = (at: number): { column: number; at: number } => {
  const unit = Math.floor(at / UNIT)
  return { column: unit % COLUMNS, at: Math.floor(unit / COLUMNS) * UNIT + (at % UNIT) }
}

test('parts and pieces put every sector where the definition says', () => {
  fc.assert(
    fc.property(fc.nat(STORE / 512 - 1), fc.integer({ min: 1, max: 900 }), (sector, count) => {
      const at = sector * 512
      const length = Math.min(count * 512, STORE - at)
      const buffer = new Uint8Array(length)
      const view = new DataView(buffer.buffer)
      for (let i = 0; i < length; i += 512) view.setUint32(i, at + i)
      let sum = 0
      for (const part of columnParts(at, length)) {
        sum += part.length
        let on = part.at
        for (const piece of columnPieces(buffer, at, part.column)) {
          for (let i = 0; i < piece.length; i += 512) {
            const from = new DataView(piece.buffer, piece.byteOffset).getUint32(i)
            expect(placeOf(from)).toEqual({ column: part.column, at: on + i })
          }
          on += piece.length
        }
        expect(on).toBe(part.at + part.length)
      }
      expect(sum).toBe(length)
    }),
  )
})

test('a slice is one 256 KiB range on each column', () => {
  for (let slice = 0; slice < STORE / SLICE; slice++) {
    expect(columnParts(slice * SLICE, SLICE)).toEqual(
      Array.from({ length: COLUMNS }, (_, column) => ({ column, at: slice * SLICE_ON_MEMBER, length: SLICE_ON_MEMBER })),
    )
  }
})

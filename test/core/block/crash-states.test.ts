import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { LunarError } from '../../../src/core/base/errors.ts'
import { Random } from '../../../src/core/base/random.ts'
import { CrashExplorer, describeCrash, type CrashState } from '../../../src/core/block/crash-states.ts'
import { Scheduler, SimulatedDisk } from '../../../src/core/block/simulated.ts'
import { Tape } from '../../../src/core/block/tape.ts'

const SECTOR = 512
const sectorsOfDisk = 64
const size = sectorsOfDisk * SECTOR

/** A sector that holds a generation; generation 0 is zeros. */
const filled = (sectors: number, generation: number): Uint8Array => {
  const data = new Uint8Array(sectors * SECTOR)
  new Uint32Array(data.buffer).fill(generation)
  return data
}

/** The generation in each sector; -1 for a sector that is not whole. */
async function generations(disk: SimulatedDisk): Promise<number[]> {
  const data = new Uint8Array(size)
  await disk.read(0, data)
  const words = new Uint32Array(data.buffer)
  return Array.from({ length: sectorsOfDisk }, (_, sector) => {
    const own = words.subarray(sector * 128, sector * 128 + 128)
    return own.every(word => word === own[0]) ? own[0]! : -1
  })
}

/** The simple model: what was written when, told apart by generation, judged from scratch for each cut. */
interface ModelWrite {
  readonly disk: number
  readonly first: number
  readonly sectors: number
  readonly generation: number
  readonly durable: boolean
  readonly issuedAt: number
  endedAt: number
}
interface ModelFlush {
  readonly disk: number
  readonly issuedAt: number
  endedAt: number
}

function allowed(writes: readonly ModelWrite[], flushes: readonly ModelFlush[], disk: number, sector: number, cut: number): Set<number> {
  const here = writes.filter(write => write.disk === disk && write.first <= sector && sector < write.first + write.sectors && write.issuedAt < cut)
  const certain = (write: ModelWrite): boolean =>
    write.endedAt < cut && (write.durable || flushes.some(flush => flush.disk === disk && flush.issuedAt >= write.endedAt && flush.endedAt < cut))
  const ended = here.filter(write => write.endedAt < cut).sort((a, b) => a.endedAt - b.endedAt)
  const last = ended.findLastIndex(certain)
  const may = [...ended.slice(last + 1), ...here.filter(write => write.endedAt >= cut)].map(write => write.generation)
  return new Set([last < 0 ? 0 : ended[last]!.generation, ...may])
}

/** Random reads, writes and flushes on two disks, several at once, with times as the tape counts them. */
async function workload(random: Random, concurrent: boolean): Promise<{ tape: Tape; writes: ModelWrite[]; flushes: ModelFlush[] }> {
  const scheduler = concurrent ? new Scheduler(random) : undefined
  const disks = [0, 1].map(index => new SimulatedDisk(size, { name: `d${index}`, ...(scheduler && { scheduler }) }))
  const tape = new Tape(disks)
  const writes: ModelWrite[] = []
  const flushes: ModelFlush[] = []
  let generation = 1
  const one = async (): Promise<void> => {
    const index = random.below(2)
    const disk = disks[index]!
    const issuedAt = tape.length
    const kind = random.below(10)
    if (kind < 2) {
      const flush = { disk: index, issuedAt, endedAt: Infinity }
      flushes.push(flush)
      await disk.flush()
      flush.endedAt = tape.events.findIndex(
        (event, at) => at >= issuedAt && event.kind === 'flush-complete' && event.disk === index && !flushes.some(other => other.endedAt === at),
      )
      return
    }
    const first = random.below(sectorsOfDisk)
    const sectors = random.between(1, Math.min(sectorsOfDisk - first, 12))
    const zeros = kind === 9
    const write: ModelWrite = { disk: index, first, sectors, generation: zeros ? 0 : generation++, durable: kind > 5 && !zeros, issuedAt, endedAt: Infinity }
    writes.push(write)
    const done = zeros
      ? disk.punch(first * SECTOR, sectors * SECTOR)
      : write.durable
        ? disk.writeDurable(first * SECTOR, filled(sectors, write.generation))
        : disk.write(first * SECTOR, filled(sectors, write.generation))
    const own = tape.events.at(-1)
    await done
    write.endedAt = tape.events.findIndex(event => event.kind === 'complete' && own?.kind === 'issue' && event.change === own.change)
  }
  for (let step = 0; step < 25; step++) await Promise.all(Array.from({ length: concurrent ? random.between(1, 4) : 1 }, one))
  return { tape, writes, flushes }
}

async function checkState(state: CrashState, writes: readonly ModelWrite[], flushes: readonly ModelFlush[]): Promise<string> {
  const contents = await Promise.all(state.disks.map(generations))
  contents.forEach((sectors, disk) =>
    sectors.forEach((found, sector) => {
      const may = allowed(writes, flushes, disk, sector, state.cut)
      if (!may.has(found)) throw new Error(`disk ${disk} sector ${sector} holds ${found}, allowed are ${[...may].join(' ')}\n${describeCrash(state)}`)
    }),
  )
  return contents.join('|')
}

describe('crash states', () => {
  test.each([false, true])(
    'every sector holds what the simple model allows (operations at once: %s)',
    async concurrent => {
      let different = 0
      await fc.assert(
        fc.asyncProperty(fc.integer(), async seed => {
          const random = new Random(seed)
          const { tape, writes, flushes } = await workload(random, concurrent)
          const explorer = new CrashExplorer(tape)
          const contents = new Map<number, string>()
          const hashes = new Map<string, number>()
          for (let cut = 0; cut <= tape.length; cut += random.between(1, 4)) {
            for (let i = 0; i < 6; i++) {
              const state = explorer.at(cut).state(random)
              const found = await checkState(state, writes, flushes)
              if ((contents.get(state.hash) ?? found) !== found || (hashes.get(found) ?? state.hash) !== state.hash)
                throw new Error(`hash and contents differ at cut ${cut}`)
              contents.set(state.hash, found)
              hashes.set(found, state.hash)
            }
          }
          different += contents.size
        }),
        { numRuns: 20 },
      )
      expect(different).toBeGreaterThan(20 * 20)
    },
    30_000,
  )

  test('everything that the model allows is found, for single sectors and pairs of disks', async () => {
    for (const seed of [1, 2]) {
      const random = new Random(seed)
      const { tape, writes, flushes } = await workload(random, true)
      const explorer = new CrashExplorer(tape)
      for (let cut = 0; cut <= tape.length; cut += 13) {
        const seen = [0, 1].map(() => Array.from({ length: sectorsOfDisk }, () => new Set<number>()))
        for (let i = 0; i < 150; i++) {
          const contents = await Promise.all(explorer.at(cut).state(random).disks.map(generations))
          contents.forEach((sectors, disk) => sectors.forEach((found, sector) => seen[disk]![sector]!.add(found)))
        }
        for (const disk of [0, 1]) {
          for (let sector = 0; sector < sectorsOfDisk; sector++) {
            const may = allowed(writes, flushes, disk, sector, cut)
            // deep stacks of lost writes are improbable, the base and the top of one must show
            if (may.size <= 3) expect([...seen[disk]![sector]!].sort(), `seed ${seed} cut ${cut} disk ${disk} sector ${sector}`).toEqual([...may].sort())
          }
        }
      }
    }
  }, 30_000)

  test('going back gives the states that going forward gave', async () => {
    const { tape } = await workload(new Random(7), true)
    const explorer = new CrashExplorer(tape)
    const hashAt = (cut: number): number => explorer.at(cut).state(new Random(cut)).hash
    const cuts = Array.from({ length: tape.length + 1 }, (_, cut) => cut)
    const forward = cuts.map(hashAt)
    expect([...cuts].reverse().map(hashAt).reverse()).toEqual(forward)
  })

  test('two unflushed writes: none, each alone, both, and torn; nothing else', async () => {
    const disk = new SimulatedDisk(size)
    const tape = new Tape([disk])
    await disk.write(0, filled(1, 1))
    await disk.write(4096, filled(2, 2))
    const explorer = new CrashExplorer(tape).at(tape.length)
    const random = new Random(1)
    const seen = new Set<string>()
    for (let i = 0; i < 300; i++) {
      const [first, , , , , , , , third, fourth] = await generations(explorer.state(random).disks[0]!)
      seen.add(`${first} ${third}${fourth}`)
    }
    expect([...seen].sort()).toEqual(['0 00', '0 02', '0 20', '0 22', '1 00', '1 02', '1 20', '1 22'])
  })

  test('a flush covers what completed before it was issued, and only on its disk', async () => {
    const [a, b] = [new SimulatedDisk(size, { name: 'a' }), new SimulatedDisk(size, { name: 'b' })]
    const tape = new Tape([a, b])
    await a.write(0, filled(1, 1))
    await b.write(0, filled(1, 2))
    const flush = a.flush()
    const late = a.write(512, filled(1, 3))
    await Promise.all([flush, late])
    const explorer = new CrashExplorer(tape).at(tape.length)
    const random = new Random(2)
    const seen = new Set<string>()
    for (let i = 0; i < 200; i++) {
      const [one, two] = await Promise.all(explorer.state(random).disks.map(generations))
      seen.add(`${one![0]}${one![1]} ${two![0]}`)
    }
    expect([...seen].sort()).toEqual(['10 0', '10 2', '13 0', '13 2'])
  })

  test('after a failed flush a later one makes nothing of it certain; written again it is (F11)', async () => {
    let fail = false
    const disk = new SimulatedDisk(size, { plan: ({ kind }) => (fail && kind === 'flush' ? new LunarError('ERR_IO', 'made by the test') : undefined) })
    const tape = new Tape([disk])
    await disk.write(0, filled(1, 1))
    await disk.write(512, filled(1, 2))
    fail = true
    await expect(disk.flush()).rejects.toMatchObject({ code: 'ERR_IO' })
    fail = false
    await disk.write(512, filled(1, 2))
    await disk.flush()
    const explorer = new CrashExplorer(tape).at(tape.length)
    const random = new Random(3)
    const seen = new Set<string>()
    for (let i = 0; i < 100; i++) seen.add((await generations(explorer.state(random).disks[0]!)).slice(0, 2).join(''))
    expect([...seen].sort()).toEqual(['02', '12'])
    expect(disk.dropUnflushed()).toBe(1)
    expect((await generations(disk)).slice(0, 2)).toEqual([0, 2])
  })

  test('a failed write may or may not be there', async () => {
    const disk = new SimulatedDisk(size, { plan: ({ kind }) => (kind === 'durable' ? new LunarError('ERR_IO', 'made by the test') : undefined) })
    const tape = new Tape([disk])
    await expect(disk.writeDurable(0, filled(1, 1))).rejects.toMatchObject({ code: 'ERR_IO' })
    await disk.flush()
    expect((await generations(disk))[0]).toBe(0)
    const explorer = new CrashExplorer(tape).at(tape.length)
    const random = new Random(4)
    const seen = new Set<number>()
    for (let i = 0; i < 50; i++) seen.add((await generations(explorer.state(random).disks[0]!))[0]!)
    expect([...seen].sort()).toEqual([0, 1])
  })

  test('what a disk dropped is not found by a later crash, but by an earlier one (F15)', async () => {
    const disk = new SimulatedDisk(size)
    const tape = new Tape([disk])
    await disk.write(0, filled(2, 1))
    const before = tape.mark('before')
    expect(disk.dropUnflushed()).toBe(1)
    await disk.write(512, filled(1, 2))
    await disk.flush()
    expect((await generations(disk)).slice(0, 3)).toEqual([0, 2, 0])
    const explorer = new CrashExplorer(tape)
    const random = new Random(5)
    for (let i = 0; i < 50; i++) expect((await generations(explorer.at(tape.length).state(random).disks[0]!)).slice(0, 3)).toEqual([0, 2, 0])
    const seen = new Set<number>()
    for (let i = 0; i < 50; i++) seen.add((await generations(explorer.at(before).state(random).disks[0]!))[0]!)
    expect([...seen].sort()).toEqual([0, 1])
  })

  test('states do not see each other, nor the disk they come from', async () => {
    const disk = new SimulatedDisk(size)
    await disk.write(0, filled(8, 1))
    await disk.flush()
    const tape = new Tape([disk])
    await disk.writeDurable(4096, filled(8, 2))
    const explorer = new CrashExplorer(tape).at(tape.length)
    const [one, two] = [explorer.state(new Random(1)).disks[0]!, explorer.state(new Random(1)).disks[0]!]
    await one.write(0, filled(16, 9))
    await disk.write(4096, filled(1, 5))
    expect((await generations(two)).slice(0, 16)).toEqual([...Array<number>(8).fill(1), ...Array<number>(8).fill(2)])
    expect((await generations(disk)).slice(7, 10)).toEqual([1, 5, 2])
    await two.punch(0, 4096)
    expect((await generations(one)).slice(0, 16)).toEqual(Array<number>(16).fill(9))
  })

  test('a crash state can be recorded and crash again', async () => {
    const disk = new SimulatedDisk(size)
    const tape = new Tape([disk])
    await disk.writeDurable(0, filled(1, 1))
    let crashed = new CrashExplorer(tape).at(tape.length).state(new Random(1)).disks[0]!
    for (let round = 2; round < 12; round++) {
      const again = new Tape([crashed])
      await crashed.writeDurable(round * SECTOR, filled(1, round))
      await crashed.write(0, filled(1, 100))
      crashed = new CrashExplorer(again).at(again.length - 2).state(new Random(round)).disks[0]!
    }
    expect((await generations(crashed)).slice(0, 12)).toEqual([1, 0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
  })

  test('a tape starts on flushed disks only, and counts acknowledged flushes', async () => {
    const disk = new SimulatedDisk(size)
    await disk.write(0, filled(1, 1))
    expect(() => new Tape([disk])).toThrow('unflushed')
    await disk.flush()
    const tape = new Tape([disk])
    await disk.writeDurable(0, filled(1, 2))
    await disk.flush()
    tape.stop()
    await disk.flush()
    const explorer = new CrashExplorer(tape)
    expect([0, 1, 2, 3, 4].map(cut => explorer.at(cut).state(new Random(1)).acknowledged)).toEqual([0, 0, 1, 1, 2])
    await disk.write(0, filled(1, 3))
    expect(disk.dropUnflushed()).toBe(1)
    expect((await generations(disk))[0]).toBe(2)
  })
})

import { expect, test } from 'vitest'
import { Random } from '../../src/core/base/random.ts'
import { Batch } from '../../src/metadata/batch.ts'
import { isNode, type Pointer } from '../../src/metadata/node.ts'
import { ChangeRoom, Tree, type TreeRoot } from '../../src/metadata/tree.ts'

const poolId = '11111111-2222-4333-8444-555555555555'

/** Blocks on a "disk" that never reuses a place, so that every old root stays readable. */
class Store {
  readonly blocks = new Map<number, Uint8Array>()
  readonly live = new Set<number>()
  private next = 1
  root: TreeRoot | undefined
  readonly read = (pointer: Pointer): Promise<Uint8Array> => {
    const block = this.blocks.get(pointer.address)
    if (!block || !isNode(block, poolId, pointer)) return Promise.reject(new Error(`block ${pointer.address} is not there`))
    return Promise.resolve(block)
  }
  checkpoint(tree: Tree, sequence: number): void {
    const { root, blocks } = tree.freeze(
      poolId,
      sequence,
      () => {
        this.live.add(this.next)
        return this.next++
      },
      address => {
        expect(this.live.delete(address), `block ${address} is released once`).toBe(true)
      },
    )
    for (const { address, bytes } of blocks) this.blocks.set(address, bytes)
    this.root = root
  }
}

async function contents(tree: Tree): Promise<string[]> {
  const rows: string[] = []
  for await (const { hi, lo, value } of tree.range({ hi: 0, lo: 0 }, { hi: Number.MAX_SAFE_INTEGER, lo: 0 }))
    rows.push(`${hi}.${lo}=${Buffer.from(value).toString('hex')}`)
  return rows
}

test.each(Array.from({ length: 12 }, (_, seed) => seed + 1))(
  'a tree holds what a sorted map holds, across checkpoints, reloads and a small cache (seed %i)',
  async seed => {
    const random = new Random(seed)
    const store = new Store()
    let tree = new Tree(store.read, undefined, 4)
    const model = new Map<string, { hi: number; lo: number; value: Uint8Array }>()
    for (let step = 0; step < 400; step++) {
      const batch = new Batch()
      for (let i = random.between(1, 8); i > 0; i--) {
        const hi = random.below(4)
        const lo = random.chance(0.5) ? random.below(40) : random.below(2 ** 40)
        const key = `${hi}.${lo}`
        const old = model.get(key)
        const dice = random.fraction()
        if (dice < 0.5) {
          const value = new Uint8Array(random.below(600)).fill(random.below(256))
          batch.put({ hi, lo }, value)
          model.set(key, { hi, lo, value })
        } else if (dice < 0.75) {
          const picked = model.size > 0 ? [...model.values()][random.below(model.size)]! : { hi, lo }
          batch.delete(picked)
          model.delete(`${picked.hi}.${picked.lo}`)
        } else {
          const size = random.between(1, 300)
          const at = random.below(size)
          const value = new Uint8Array(Math.max(size, old?.value.length ?? 0))
          if (old) value.set(old.value)
          value[at] = 77
          batch.patch({ hi, lo }, at, Uint8Array.of(77), size)
          model.set(key, { hi, lo, value })
        }
      }
      await tree.loadFor(batch)
      const bound = new ChangeRoom(tree).with(batch)
      tree.apply(batch)
      expect(tree.changedCount(), 'the bound on changed blocks holds').toBeLessThanOrEqual(bound)
      if (random.chance(0.05)) store.checkpoint(tree, step)
      if (random.chance(0.02)) {
        store.checkpoint(tree, step)
        tree = new Tree(store.read, store.root, 4)
      }
      tree.trimCache()
    }
    const expected = [...model.values()]
      .sort((a, b) => a.hi - b.hi || a.lo - b.lo)
      .map(({ hi, lo, value }) => `${hi}.${lo}=${Buffer.from(value).toString('hex')}`)
    expect(await contents(tree)).toEqual(expected)
    store.checkpoint(tree, 1000)
    const used = new Set<number>()
    const reopened = new Tree(store.read, store.root)
    await reopened.visitBlocks(pointer => used.add(pointer.address))
    expect(used, 'what is not released is what the tree uses').toEqual(store.live)
    expect(await contents(reopened)).toEqual(expected)
  },
)

test('a batch that empties a block and then names keys between it and its neighbour needs no block that was not loaded for it', async () => {
  const store = new Store()
  const full = new Tree(store.read, undefined)
  for (let i = 0; i < 64; i++) {
    const batch = new Batch().put({ hi: 1, lo: 10 * i }, new Uint8Array(500))
    await full.loadFor(batch)
    full.apply(batch)
  }
  store.checkpoint(full, 1)
  const rows = await contents(full)
  const lows = Array.from({ length: 64 }, (_, i) => 10 * i)
  // Whichever block it is: everything of a run of eight is deleted, one by one, and a key that was never there, or one that comes anew.
  for (let first = 0; first + 8 <= 64; first++) {
    for (const anew of [false, true]) {
      const tree = new Tree(store.read, store.root)
      const gone = lows.slice(first, first + 8)
      const batches = [...gone.map(lo => new Batch().delete({ hi: 1, lo })), new Batch().delete({ hi: 1, lo: 10 * first + 5 })]
      if (anew) batches.push(new Batch().put({ hi: 1, lo: 10 * first + 5 }, Uint8Array.of(1)))
      for (const batch of batches) await tree.loadFor(batch)
      for (const batch of batches) tree.apply(batch)
      const expected = rows.filter((_, i) => i < first || i >= first + 8)
      if (anew) expected.splice(first, 0, `1.${10 * first + 5}=01`)
      expect(await contents(tree)).toEqual(expected)
    }
  }
})

test('records that arrive in order fill their blocks', async () => {
  const store = new Store()
  const tree = new Tree(store.read, undefined)
  for (let i = 0; i < 4000; i++) {
    const batch = new Batch().put({ hi: 1, lo: i }, new Uint8Array(64))
    await tree.loadFor(batch)
    tree.apply(batch)
  }
  store.checkpoint(tree, 1)
  expect(store.live.size).toBeLessThan((4000 * 82) / 4096 / 0.8)
})

test('many bits of a record in one batch are as one batch each, whatever lies between them', async () => {
  const random = new Random(7)
  const none = (): Promise<Uint8Array> => Promise.reject(new Error('nothing is on disk'))
  const [together, apart] = [new Tree(none, undefined), new Tree(none, undefined)]
  for (let round = 0; round < 20; round++) {
    const batch = new Batch()
    for (let i = 0; i < 40; i++) {
      const key = { hi: 1, lo: Math.floor(i / 8) + random.below(2) }
      const one = new Batch()
      if (random.chance(0.1)) one.delete(key)
      else one.merge(key, random.below(16), random.below(256), random.below(256), random.pick([16, 24]))
      const before = apart.getLoaded(key)?.slice()
      const held = apart.getLoaded(key)
      apart.apply(one)
      if (held) expect(held).toEqual(before) // who read the record keeps what was read
      batch.append(one)
    }
    const held = together.getLoaded({ hi: 1, lo: 1 })
    const before = held?.slice()
    together.apply(batch)
    expect(held).toEqual(before)
    expect(await contents(together)).toEqual(await contents(apart))
  }
})

test('a block whose place was given to another while it was being read is read from where it went', async () => {
  const store = new Store()
  const made = new Tree(store.read, undefined)
  for (let i = 0; i < 400; i++) made.apply(new Batch().put({ hi: 1, lo: i }, new Uint8Array(64)))
  store.checkpoint(made, 1)
  const old = new Map(store.blocks)
  let held: ((block: Promise<Uint8Array>) => void) | undefined
  let holds = false
  const tree = new Tree(pointer => {
    if (!holds) return store.read(pointer)
    holds = false
    return new Promise(resolve => (held = resolve))
  }, store.root)
  expect(await tree.get({ hi: 1, lo: 0 })).toBeDefined() // the root is in memory now
  holds = true
  const slow = tree.get({ hi: 1, lo: 300 })
  await new Promise(resolve => setImmediate(resolve))
  const batch = new Batch().put({ hi: 1, lo: 300 }, Uint8Array.of(7))
  await tree.loadFor(batch)
  tree.apply(batch)
  store.checkpoint(tree, 2)
  for (const [address, block] of old) if (!store.live.has(address)) block.fill(0) // what it was is overwritten
  held!(Promise.reject(new Error('none of its copies is right')))
  expect(await slow).toEqual(Uint8Array.of(7))
})

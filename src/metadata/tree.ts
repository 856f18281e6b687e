import { LunarError } from '../core/base/errors.ts'
import { DELETE, MERGE, merged, PATCH, patched, type Batch } from './batch.ts'
import { compareKeys, type Key } from './key.ts'
import { decodeNode, encodeNode, Inner, INNER_MAX, Leaf, leafEntrySize, NODE_ROOM, nodeCrc, type Node, type Pointer } from './node.ts'

/** Reads the block a pointer means, checked; throws `ERR_METADATA_DAMAGED` when no copy is right. */
export type NodeReader = (pointer: Pointer) => Promise<Uint8Array>

export interface TreeRoot extends Pointer {
  readonly level: number
}

export interface Entry extends Key {
  readonly value: Uint8Array
}

/**
 * The metadata map: a B+tree whose changed blocks live in memory until a checkpoint writes them to new places.
 *
 * Changes are synchronous (`apply`), after `load` has brought in the leaves they touch; reads load what they need and
 * start again from the top after each wait, so they never see half of a change.
 */
export class Tree {
  private root: Node | undefined
  private rootPointer: TreeRoot | undefined
  private loadedCount = 0

  constructor(
    private readonly reader: NodeReader,
    root: TreeRoot | undefined,
    /** Blocks kept in memory beyond the changed ones. */
    private readonly cacheBlocksMax = 8192,
  ) {
    this.rootPointer = root
  }

  /** Blocks in memory. */
  get cached(): { readonly blocks: number; readonly most: number } {
    return { blocks: this.loadedCount, most: this.cacheBlocksMax }
  }

  async get(key: Key): Promise<Uint8Array | undefined> {
    await this.load(key.hi, key.lo)
    return this.getLoaded(key)
  }

  /** The records with `from` <= key <= `to`, in order, read leaf by leaf. */
  async *range(from: Key, to: Key): AsyncGenerator<Entry> {
    let hi = from.hi
    let lo = from.lo
    for (;;) {
      await this.load(hi, lo)
      const leaf = this.leafOf(hi, lo)
      if (!leaf) return
      const batch: Entry[] = []
      for (let i = lowerBound(leaf, hi, lo); i < leaf.his.length; i++) {
        if (compareKeys(leaf.his[i]!, leaf.los[i]!, to.hi, to.lo) > 0) {
          yield* batch
          return
        }
        batch.push({ hi: leaf.his[i]!, lo: leaf.los[i]!, value: leaf.values[i]! })
      }
      const next = this.nextBound(hi, lo)
      yield* batch
      if (!next || compareKeys(next.hi, next.lo, to.hi, to.lo) > 0) return
      hi = next.hi
      lo = next.lo
    }
  }

  /** Brings the leaves that `batch` touches into memory. */
  async loadFor(batch: Batch): Promise<void> {
    let before: Key | undefined
    for (const op of batch.ops) {
      if (before?.hi !== op.hi || before.lo !== op.lo) await this.load(op.hi, op.lo)
      before = op
    }
  }

  /** Changes the map; every leaf it touches must be loaded. */
  apply(batch: Batch): void {
    const { ops } = batch
    for (let i = 0; i < ops.length; i++) {
      const op = ops[i]!
      if (op.op === MERGE) {
        // Many bits of one record, as point-in-time maps change them: the record is copied once.
        const value = merged(this.getLoaded(op), op.at, op.value[0]!, op.value[1]!, op.size)
        for (let next = ops[i + 1]; next?.op === MERGE && next.hi === op.hi && next.lo === op.lo && next.size === op.size; next = ops[++i + 1])
          value[next.at] = (value[next.at]! & ~next.value[0]!) | next.value[1]!
        this.insert(op.hi, op.lo, value)
      } else if (op.op === DELETE) this.remove(op.hi, op.lo)
      else if (op.op === PATCH) this.insert(op.hi, op.lo, patched(this.getLoaded(op), op.at, op.value, op.size))
      else this.insert(op.hi, op.lo, op.value)
    }
  }

  get hasChanges(): boolean {
    return this.root?.dirty ?? false
  }

  /** Number of changed blocks: what a checkpoint now would write. */
  changedCount(): number {
    const count = (node: Node): number => {
      if (!node.dirty) return 0
      return node instanceof Leaf ? 1 : node.children.reduce((sum, child) => sum + (child ? count(child) : 0), 1)
    }
    return this.root ? count(this.root) : 0
  }

  /** The blocks on the way to each key of a batch, whose leaves are loaded, that are not in `known` yet. */
  waysOf(batch: Batch, known: ReadonlySet<Node>): Set<Node> {
    const ways = new Set<Node>()
    for (const { hi, lo } of batch.ops) {
      let node = this.root
      while (node) {
        if (!known.has(node)) ways.add(node)
        node = node instanceof Inner ? node.children[childIndex(node, hi, lo)] : undefined
      }
    }
    return ways
  }

  get levels(): number {
    return (this.root?.level ?? 0) + 1
  }

  /**
   * Encodes every changed block at a new place, children first, and forgets that they are changed. Synchronous, so the
   * result is one state of the map.
   *
   * @param place takes a free block and returns its address
   * @param release is told the address of each block that the new tree no longer uses
   */
  freeze(
    poolId: string,
    sequence: number,
    place: () => number,
    release: (address: number) => void,
  ): { root: TreeRoot | undefined; blocks: { address: number; bytes: Uint8Array }[] } {
    const blocks: { address: number; bytes: Uint8Array }[] = []
    const write = (node: Node): void => {
      if (node instanceof Inner) {
        node.children.forEach((child, i) => {
          if (child?.dirty) {
            write(child)
            node.pointers[i] = child.pointer
          }
        })
      }
      const address = place()
      const bytes = encodeNode(node, poolId, address, sequence)
      if (node.pointer.address > 0) release(node.pointer.address)
      node.pointer = { address, crc: nodeCrc(bytes) }
      node.dirty = false
      blocks.push({ address, bytes })
    }
    this.dropEmpty()
    for (const address of this.dropped.splice(0)) release(address)
    if (this.root?.dirty) write(this.root)
    if (this.root) this.rootPointer = { ...this.root.pointer, level: this.root.level }
    return { root: this.rootPointer, blocks }
  }

  /** Addresses of removed nodes that a durable root still points to. */
  private readonly dropped: number[] = []
  /** Some leaf has lost its last record since the last checkpoint. */
  private hasEmpty = false

  /** Loads every block and counts it as changed, so that the next checkpoint writes the whole tree to new places. */
  async touchAll(): Promise<void> {
    if (!this.root && this.rootPointer) this.root = await this.read(this.rootPointer, this.rootPointer.level)
    const touch = async (node: Node): Promise<void> => {
      node.dirty = true
      if (!(node instanceof Inner)) return
      for (let i = 0; i < node.children.length; i++) {
        let child = node.children[i]
        if (!child) {
          child = await this.read(node.pointers[i]!, node.level - 1)
          node.children[i] = child
          this.loadedCount++
        }
        await touch(child)
      }
    }
    if (this.root) await touch(this.root)
  }

  /** Calls `visit` for every block of the tree, with what lies below inner blocks taken from disk where it is not loaded. */
  async visitBlocks(visit: (pointer: Pointer, level: number) => void): Promise<void> {
    if (!this.rootPointer) return
    const walk = async (pointer: Pointer, level: number): Promise<void> => {
      visit(pointer, level)
      if (level === 0) return
      const node = decodeNode(await this.reader(pointer), pointer)
      if (node instanceof Inner) for (const child of node.pointers) await walk(child, level - 1)
    }
    await walk(this.rootPointer, this.rootPointer.level)
  }

  /** Lets unchanged blocks go while more than the budget is in memory; call it only when no change is between load and apply. */
  trimCache(): void {
    if (this.loadedCount <= this.cacheBlocksMax || !(this.root instanceof Inner)) return
    const sweep = (node: Inner): void => {
      node.children.forEach((child, i) => {
        if (!child) return
        if (child instanceof Inner && child.level > 1) return sweep(child)
        if (child instanceof Inner) {
          child.children.forEach((leaf, j) => {
            if (!leaf || leaf.dirty) return
            if (leaf.used) leaf.used = false
            else {
              child.children[j] = undefined
              this.loadedCount--
            }
          })
        } else if (!child.dirty) {
          if (child.used) child.used = false
          else {
            node.children[i] = undefined
            this.loadedCount--
          }
        }
      })
    }
    sweep(this.root)
  }

  getLoaded(key: { hi: number; lo: number }): Uint8Array | undefined {
    const leaf = this.leafOf(key.hi, key.lo)
    if (!leaf) return undefined
    const i = lowerBound(leaf, key.hi, key.lo)
    return leaf.his[i] === key.hi && leaf.los[i] === key.lo ? leaf.values[i] : undefined
  }

  private async load(hi: number, lo: number): Promise<void> {
    for (;;) {
      if (!this.root) {
        if (!this.rootPointer) return
        const pointer = this.rootPointer
        const node = await this.read(pointer, pointer.level)
        this.root ??= node
        continue
      }
      let node: Node = this.root
      let missing: { parent: Inner; index: number } | undefined
      while (node instanceof Inner) {
        const index = childIndex(node, hi, lo)
        const child: Node | undefined = node.children[index]
        if (!child) {
          missing = { parent: node, index }
          break
        }
        node = child
      }
      if (!missing) {
        node.used = true
        return
      }
      const { parent, index } = missing
      const pointer = parent.pointers[index]!
      let loaded: Node
      try {
        loaded = await this.read(pointer, parent.level - 1)
      } catch (error) {
        // Another may have loaded and changed it meanwhile, and a checkpoint given its old place to something else.
        if (parent.pointers.includes(pointer)) throw error
        continue
      }
      // While this waited the parent may have been split or the child loaded by another: find its place anew.
      const place = parent.pointers.findIndex((p, i) => p === pointer && !parent.children[i])
      if (place >= 0) {
        parent.children[place] = loaded
        this.loadedCount++
      }
    }
  }

  private async read(pointer: Pointer, level: number): Promise<Node> {
    const node = decodeNode(await this.reader(pointer), pointer)
    if (node.level !== level)
      throw new LunarError('ERR_METADATA_DAMAGED', `Cannot read metadata block ${pointer.address}`, { why: `it is of level ${node.level}, not ${level}` })
    return node
  }

  private leafOf(hi: number, lo: number): Leaf | undefined {
    let node = this.root
    while (node instanceof Inner) {
      const child: Node | undefined = node.children[childIndex(node, hi, lo)]
      if (!child) throw new LunarError('ERR_BUG', 'Invariant broken: a metadata leaf is changed before it is loaded')
      node = child
    }
    return node
  }

  /** The lower bound of the leaf after the one that holds this key. */
  private nextBound(hi: number, lo: number): Key | undefined {
    let node = this.root
    let bound: Key | undefined
    while (node instanceof Inner) {
      const index = childIndex(node, hi, lo)
      if (index + 1 < node.his.length) bound = { hi: node.his[index + 1]!, lo: node.los[index + 1]! }
      node = node.children[index]
    }
    return bound
  }

  private insert(hi: number, lo: number, value: Uint8Array): void {
    if (!this.root) {
      this.root = new Leaf()
      this.loadedCount++
    }
    const split = this.insertBelow(this.root, hi, lo, value)
    if (split) {
      const top = new Inner(this.root.level + 1)
      top.dirty = true
      top.his = [this.root.his[0]!, split.hi]
      top.los = [this.root.los[0]!, split.lo]
      top.children = [this.root, split.node]
      top.pointers = [this.root.pointer, split.node.pointer]
      this.root = top
    }
  }

  private insertBelow(node: Node, hi: number, lo: number, value: Uint8Array): { hi: number; lo: number; node: Node } | undefined {
    node.dirty = true
    if (node instanceof Leaf) {
      const i = lowerBound(node, hi, lo)
      if (node.his[i] === hi && node.los[i] === lo) {
        node.bytes += value.length - node.values[i]!.length
        node.values[i] = value
      } else {
        node.his.splice(i, 0, hi)
        node.los.splice(i, 0, lo)
        node.values.splice(i, 0, value)
        node.bytes += leafEntrySize(value)
      }
      return node.bytes > NODE_ROOM ? this.splitLeaf(node, i === node.his.length - 1) : undefined
    }
    const index = childIndex(node, hi, lo)
    if (compareKeys(hi, lo, node.his[index]!, node.los[index]!) < 0) {
      // Below the bound of the first child: the bound goes down with it, or a split would put a lower one after it.
      node.his[index] = hi
      node.los[index] = lo
    }
    const below = this.insertBelow(node.children[index]!, hi, lo, value)
    if (!below) return undefined
    node.his.splice(index + 1, 0, below.hi)
    node.los.splice(index + 1, 0, below.lo)
    node.children.splice(index + 1, 0, below.node)
    node.pointers.splice(index + 1, 0, below.node.pointer)
    return node.his.length > INNER_MAX ? this.splitInner(node) : undefined
  }

  private splitLeaf(leaf: Leaf, atEnd: boolean): { hi: number; lo: number; node: Leaf } {
    // Records that arrive in order fill blocks nearly whole: then the cut is near the end.
    const goal = atEnd ? NODE_ROOM * 0.9 : leaf.bytes / 2
    let left = 0
    let cut = 0
    while (cut < leaf.values.length - 1 && left + leafEntrySize(leaf.values[cut]!) <= goal) left += leafEntrySize(leaf.values[cut++]!)
    cut = Math.max(1, cut)
    const right = new Leaf()
    right.dirty = true
    right.his = leaf.his.splice(cut)
    right.los = leaf.los.splice(cut)
    right.values = leaf.values.splice(cut)
    right.bytes = right.values.reduce((sum, value) => sum + leafEntrySize(value), 0)
    leaf.bytes -= right.bytes
    this.loadedCount++
    return { hi: right.his[0]!, lo: right.los[0]!, node: right }
  }

  private splitInner(inner: Inner): { hi: number; lo: number; node: Inner } {
    const cut = inner.his.length >> 1
    const right = new Inner(inner.level)
    right.dirty = true
    right.his = inner.his.splice(cut)
    right.los = inner.los.splice(cut)
    right.children = inner.children.splice(cut)
    right.pointers = inner.pointers.splice(cut)
    return { hi: right.his[0]!, lo: right.los[0]!, node: right }
  }

  /** A block that is empty now stays in its place until a checkpoint: keys of batches whose leaves are loaded must not fall into its neighbour. */
  private remove(hi: number, lo: number): void {
    if (this.root && this.getLoaded({ hi, lo }) !== undefined) this.removeBelow(this.root, hi, lo)
  }

  private removeBelow(node: Node, hi: number, lo: number): void {
    node.dirty = true
    if (node instanceof Inner) return this.removeBelow(node.children[childIndex(node, hi, lo)]!, hi, lo)
    const i = lowerBound(node, hi, lo)
    node.bytes -= leafEntrySize(node.values[i]!)
    node.his.splice(i, 1)
    node.los.splice(i, 1)
    node.values.splice(i, 1)
    if (node.his.length === 0) this.hasEmpty = true
  }

  /** Takes out blocks that are empty, and levels that have one child. */
  private dropEmpty(): void {
    if (!this.hasEmpty || !this.root) return
    this.hasEmpty = false
    if (this.isEmptied(this.root)) {
      this.root = undefined
      this.rootPointer = undefined
      return
    }
    while (this.root instanceof Inner && this.root.children.length === 1 && this.root.children[0]) {
      if (this.root.pointer.address > 0) this.dropped.push(this.root.pointer.address)
      this.root = this.root.children[0]
      this.root.dirty = true
    }
  }

  /** Drops what is empty below a changed node. @returns whether nothing is left of it: then it is dropped too */
  private isEmptied(node: Node): boolean {
    if (node instanceof Inner) {
      for (let index = node.children.length - 1; index >= 0; index--) {
        const child = node.children[index]
        if (!child?.dirty || !this.isEmptied(child)) continue
        node.his.splice(index, 1)
        node.los.splice(index, 1)
        node.children.splice(index, 1)
        node.pointers.splice(index, 1)
      }
    }
    if (node.his.length > 0) return false
    if (node.pointer.address > 0) this.dropped.push(node.pointer.address)
    this.loadedCount--
    return true
  }
}

/** Index of the first entry of a leaf that is not below the key. */
function lowerBound(leaf: Leaf, hi: number, lo: number): number {
  let from = 0
  let to = leaf.his.length
  while (from < to) {
    const middle = (from + to) >> 1
    if (compareKeys(leaf.his[middle]!, leaf.los[middle]!, hi, lo) < 0) from = middle + 1
    else to = middle
  }
  return from
}

/** Index of the child whose range holds the key: the last one whose bound is not above it, else the first. */
function childIndex(inner: Inner, hi: number, lo: number): number {
  let from = 0
  let to = inner.his.length
  while (from < to) {
    const middle = (from + to) >> 1
    if (compareKeys(inner.his[middle]!, inner.los[middle]!, hi, lo) <= 0) from = middle + 1
    else to = middle
  }
  return Math.max(0, from - 1)
}

/**
 * At most how many blocks a checkpoint would write after some batches: those that are changed already, those the batches touch, and those
 * that splitting adds. Nothing is applied while it is in use.
 */
export class ChangeRoom {
  private readonly touched = new Set<Node>()
  private blocks: number

  constructor(private readonly tree: Tree) {
    this.blocks = tree.changedCount() + tree.levels + 1
  }

  /** The bound with one more batch, whose leaves are loaded. */
  with(batch: Batch): number {
    return this.blocks + this.cost(batch, this.tree.waysOf(batch, this.touched))
  }

  add(batch: Batch): void {
    const ways = this.tree.waysOf(batch, this.touched)
    this.blocks += this.cost(batch, ways)
    for (const node of ways) this.touched.add(node)
  }

  private cost(batch: Batch, ways: ReadonlySet<Node>): number {
    let leaves = 0
    for (const node of ways) if (node instanceof Leaf) leaves++
    return ways.size + leaves + Math.ceil(batch.size / 400)
  }
}

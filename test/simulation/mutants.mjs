/**
 * Faults that the tests must find: each is a text of a source file that occurs once, and what stands there instead. The simulation
 * must fail for it, or the test file that is named where few crashes show it.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

export const mutants = [
  {
    name: 'open-bit-after-data',
    file: 'src/core/lun/lun.ts',
    text: 'if (durable) await durable\n',
    instead: 'if (durable) void durable\n',
  },
  {
    name: 'binding-after-data',
    file: 'src/core/lun/slice-binding.ts',
    text: "await this.pool.metadata.commit(batch, 'data')\n",
    instead: "void this.pool.metadata.commit(batch, 'data')\n",
  },
  {
    name: 'flush-of-nothing',
    file: 'src/core/lun/lun.ts',
    text: 'await disk.flush()',
    instead: 'await Promise.resolve()',
  },
  {
    name: 'flush-without-held-writes',
    file: 'src/core/lun/lun.ts',
    text: 'await this.hold.drain()\n',
    instead: '',
  },
  {
    name: 'lock-ignored',
    file: 'src/core/lun/lun.ts',
    text: "this.stores.members.isRedundant(store) || isPageMemory(data) ? 'exclusive' : 'shared'",
    instead: "'shared'",
  },
  {
    name: 'unclean-space-bound',
    file: 'src/core/lun/slice-space.ts',
    text: 'this.lun.stores.table.dirtyMask(store) | bits, batch)',
    instead: 'this.lun.stores.table.dirtyMask(store), batch)',
  },
  {
    name: 'clean-before-flush',
    file: 'src/core/pool/pool.ts',
    text: 'await disk.flush()\n    const batch = new Batch()\n    const cleaned =',
    instead: 'const batch = new Batch()\n    const cleaned =',
  },
  {
    name: 'open-bit-cleared-before-flush',
    file: 'src/core/pool/lun-stores.ts',
    text: 'await this.host.barrier.durable({ flush: [...disks] })\n',
    instead: '',
  },
  {
    name: 'stale-mirror-believed',
    file: 'src/core/pool/store-members.ts',
    text: 'disk.inService && !this.bits.isStale(store, slice, member) :',
    instead: 'disk.inService :',
  },
  {
    name: 'resync-recorded-before-flush',
    file: 'src/core/pool/lun-stores.ts',
    text: 'disk.flush().catch(',
    instead: 'Promise.resolve().catch(',
  },
  {
    name: 'failed-flush-forgotten',
    file: 'src/core/pool/pool-disk.ts',
    text: "          this.flushFailure = error ?? new Error('flush failed')\n          this.onFlushFailed?.(this, error)\n          throw this.suspended()\n",
    instead: '          this.dirtyBytes = 0\n',
    test: 'test/faults/F11-flush-error.test.ts',
  },
  {
    name: 'commit-acknowledged-early',
    file: 'src/metadata/metadata.ts',
    text: '      await this.writeGroup(batches, stream)\n      for (const item of accepted) item.done.resolve()\n',
    instead: '      for (const item of accepted) item.done.resolve()\n      await this.writeGroup(batches, stream)\n',
  },
  {
    name: 'vote-acknowledged-early',
    file: 'src/metadata/metadata.ts',
    text: '    return this.writeTo(this.members, block, address)\n',
    instead: '    void this.writeTo(this.members, block, address)\n    return []\n',
  },
  {
    name: 'root-before-blocks',
    file: 'src/metadata/metadata.ts',
    text: '    await this.space.write(frozen.blocks)\n    this.root',
    instead: '    void this.space.write(frozen.blocks)\n    this.root',
  },
  {
    name: 'older-root-loaded',
    file: 'src/metadata/sources.ts',
    text: ' || b.root.number - a.root.number',
    instead: '',
    test: 'test/simulation/same-state.test.ts',
  },
  {
    name: 'blocks-reused-before-root',
    file: 'src/metadata/space.ts',
    text: '    this.released.push(address)\n',
    instead: '    this.stores.get(Math.floor(address / STORE_UNIT))!.used[address % STORE_UNIT] = 0\n    this.freeCount++\n',
  },
  {
    name: 'journal-checksum-dropped',
    file: 'src/metadata/journal.ts',
    text: '  if (crc32c(payload) !== header.payloadCrc) return undefined\n',
    instead: '',
    test: 'test/metadata/journal.test.ts',
  },
  {
    name: 'root-checksum-dropped',
    file: 'src/metadata/root.ts',
    text: "  if (!isSealed('root', block)) return undefined\n",
    instead: '',
    test: 'test/faults/F01-torn.test.ts',
  },
  {
    name: 'minority-accepted',
    file: 'src/metadata/quorum.ts',
    text: 'supporters(state).length * 2 > state.members.length',
    instead: 'supporters(state).length > 0',
    test: 'test/metadata/quorum.test.ts',
  },
  {
    name: 'preserved-copy-unflushed',
    file: 'src/core/snapshot/volume.ts',
    text: 'unlessFailed(relationship, image => image.lun.flush())',
    instead: 'unlessFailed(relationship, () => Promise.resolve())',
    test: 'test/core/snapshot/relationships-crash.test.ts',
  },
  {
    name: 'overwritten-before-preserved',
    file: 'src/core/snapshot/volume.ts',
    text: 'await this.prepareAlone(',
    instead: 'void this.prepareAlone(',
    test: 'test/core/snapshot/relationships-crash.test.ts',
  },
  {
    name: 'copied-back-over-a-write',
    file: 'src/core/snapshot/volume.ts',
    text: 'if (image.isUpdating) await image.frozen.finish(',
    instead: 'if (image.isUpdating) void String(',
    test: 'test/core/snapshot/wod-update.test.ts',
  },
  {
    name: 'updated-from-device-unflushed',
    file: 'src/core/snapshot/wod-update.ts',
    text: 'if (written) await volume.lun.flush()',
    instead: 'if (written) await Promise.resolve()',
    test: 'test/core/snapshot/wod-update.test.ts',
  },
  {
    name: 'round-overwrites-before-durable',
    file: 'src/core/snapshot/rounds.ts',
    text: 'await this.host.prepare(',
    instead: 'void this.host.prepare(',
    test: 'test/core/snapshot/relationships-crash.test.ts',
  },
  {
    name: 'round-committed-before-flush',
    file: 'src/core/snapshot/volume.ts',
    text: '      const dropped = await this.preserve(writes, tree, copied)\n',
    instead: '      await this.commit(joinMarks(writes.map(({ marks }) => marks)), urgent)\n      const dropped = await this.preserve(writes, tree, copied)\n',
    test: 'test/core/snapshot/relationships-crash.test.ts',
  },
  {
    name: 'round-joined-late',
    file: 'src/core/snapshot/rounds.ts',
    text: 'if (!found?.open || ',
    instead: 'if (!found || ',
    test: 'test/core/snapshot/rounds.test.ts',
  },
  {
    name: 'own-chunk-unflushed',
    file: 'src/core/snapshot/volume.ts',
    text: '    await this.lun.flush()\n    await this.commit([after], urgent)\n',
    instead: '    await this.commit([after], urgent)\n',
    test: 'test/core/snapshot/relationships-crash.test.ts',
  },
  {
    name: 'updated-chunk-unflushed',
    file: 'src/core/snapshot/updates.ts',
    text: '    await target.lun.flush()\n',
    instead: '',
    test: 'test/core/snapshot/relationships-crash.test.ts',
  },
  {
    name: 'copied-back-unflushed',
    file: 'src/core/snapshot/tree/settle-restored.ts',
    text: '      await volume.lun.flush()\n',
    instead: '',
    test: 'test/faults/F24-killed-restores.test.ts',
  },
  {
    name: 'half-restored-chunk-kept',
    file: 'src/core/snapshot/tree/settle-restored.ts',
    text: 'chunk => restoring.keptOf(chunk) === NONE)',
    instead: 'chunk => restoring.keptOf(chunk) !== -2)',
    test: 'test/faults/F24-killed-restores.test.ts',
  },
  {
    name: 'restored-snapshot-written-first',
    file: 'src/core/snapshot/tree/snapshot-volume.ts',
    text: 'if (tree.restoring?.snapshot === this.snapshot) await',
    instead: 'if (tree.restoring?.snapshot === this.snapshot) void',
    test: 'test/core/snapshot/tree/tree-model.test.ts',
  },
  {
    name: 'frozen-set-ignored',
    file: 'src/core/snapshot/volume.ts',
    text: 'if (relationship.hasFrozen(run)) await',
    instead: 'if (relationship.hasFrozen(run) && relationship.number < 0) await',
    test: 'test/core/snapshot/relationships-model.test.ts',
  },
  {
    name: 'image-read-unlocked',
    file: 'src/core/snapshot/volume.ts',
    text: "    const release = await image.lock(run, 'shared')\n",
    instead: '    const release = () => undefined\n',
    test: 'test/core/snapshot/read-order.test.ts',
  },
  {
    name: 'wide-chunk-unlocked',
    file: 'src/core/snapshot/volume.ts',
    text: '      from = Math.min(from, layer.chunks.offsetOf(run.from))\n',
    instead: '',
    test: 'test/core/snapshot/datacore-figures.test.ts',
  },
  {
    name: 'snapshot-chunk-unflushed',
    file: 'src/core/snapshot/tree/tree.ts',
    text: 'if (this.written.length > 0) await this.tree.store.flush()',
    instead: 'await Promise.resolve()',
    test: 'test/core/snapshot/tree/tree-crash.test.ts',
  },
  {
    name: 'leaf-chunk-unflushed',
    file: 'src/core/snapshot/tree/snapshot-volume.ts',
    text: '      await tree.store.flush()\n',
    instead: '',
    test: 'test/core/snapshot/tree/tree-crash.test.ts',
  },
  {
    name: 'read-through-unlocked',
    file: 'src/core/snapshot/tree/snapshot-volume.ts',
    text: "const release = await this.snapshot.tree.lock(run, 'shared')",
    instead: 'const release = await Promise.resolve(() => undefined)',
    test: 'test/core/snapshot/tree/tree-model.test.ts',
  },
  {
    name: 'slot-freed-before-commit',
    file: 'src/core/snapshot/tree/tree-tidy.ts',
    text: "if (!batch.isEmpty) await this.metadata.commit(batch, 'data', true)\n",
    instead: "if (!batch.isEmpty) void this.metadata.commit(batch, 'data', true)\n",
    test: 'test/core/snapshot/tree/tree-crash.test.ts',
  },
  {
    name: 'entry-of-older-snapshots-dropped',
    file: 'src/core/snapshot/tree/tree-tidy.ts',
    text: 'one > previous && one <= epoch',
    instead: 'one === epoch',
    test: 'test/core/snapshot/tree/tree.test.ts',
  },
  {
    name: 'snapshot-of-busy-volume',
    file: 'src/core/block/quiesce.ts',
    text: '      await volume.quiesce.pause()\n',
    instead: '',
    test: 'test/core/snapshot/tree/tree.test.ts',
  },
  {
    name: 'parity-store-written-before-log',
    file: 'src/core/pool/parity-store.ts',
    text: 'ticket = await log.append(key, slice, [...bytes, ...parity], disks)\n',
    instead: 'const early = log.append(key, slice, [...bytes, ...parity], disks)\n      await this.put(store, bytes)\n      ticket = await early\n',
    test: 'test/faults/F22-write-hole.test.ts',
  },
  {
    name: 'parity-log-not-voided',
    file: 'src/core/pool/parity-store.ts',
    text: 'if (log.coversAny(key, from, to)) await log.void(key, from, to)\n',
    instead: '',
    test: 'test/faults/F22-write-hole.test.ts',
  },
  {
    name: 'parity-log-replayed-on-stale',
    file: 'src/core/pool/lun-stores.ts',
    text: ' || bits.isStale(store, slice, PARITY_MEMBER)) return',
    instead: ') return',
    test: 'test/faults/F22-write-hole.test.ts',
  },
  {
    name: 'unsynced-parity-believed',
    file: 'src/core/pool/parity-store.ts',
    text: 'const made = await this.verifyRange(store, from, SLICE_ON_MEMBER)',
    instead: 'const made = 0 * (await this.verifyRange(store, from, 0))',
    test: 'test/faults/F22-write-hole.test.ts',
  },
  {
    name: 'slice-compared-unlocked',
    file: 'src/core/lun/lun.ts',
    text: "const release = await this.lockRun(slice, 1, place, store, sliceOf(place) * SLICE, SLICE, repair ? 'exclusive' : 'shared')",
    instead: 'const release = () => undefined',
    test: 'test/core/pool/slice-check.test.ts',
  },
  {
    name: 'repair-not-voided',
    file: 'src/core/pool/lun-stores.ts',
    text: '        await this.parities.voidSlice(store, slice)\n      }\n      const repaired',
    instead: '      }\n      const repaired',
    test: 'test/core/pool/slice-check.test.ts',
  },
  {
    name: 'drop-not-durable',
    file: 'src/core/snapshot/tree/relief.ts',
    text: "await metadata.commit(batch, 'admin', true)",
    instead: "void metadata.commit(batch, 'admin', true).catch(() => undefined)",
    test: 'test/core/snapshot/tree/policy.test.ts',
  },
  {
    name: 'dropped-read',
    file: 'src/core/snapshot/tree/snapshot.ts',
    text: 'if (!this.isDropped) return',
    instead: 'if (this.isDropped || !this.isDropped) return',
    test: 'test/core/snapshot/tree/policy.test.ts',
  },
  {
    name: 'reserve-for-others',
    file: 'src/core/snapshot/tree/slot-store.ts',
    text: 'if (this.isReserved(slice)) continue\n',
    instead: '\n',
    test: 'test/core/snapshot/tree/policy.test.ts',
  },
  {
    name: 'compaction-not-flushed',
    file: 'src/core/snapshot/tree/compaction.ts',
    text: 'await this.store.flush()',
    instead: 'await Promise.resolve()',
    test: 'test/core/snapshot/tree/compaction.test.ts',
  },
  {
    name: 'written-at-once-unlocked',
    file: 'src/core/pool/lun-stores.ts',
    text: "if (members.hasParity(store) || !this.isFree(store, at, data.length, redundant || direct ? 'exclusive' : 'shared')) return 'no'",
    instead: "if (members.hasParity(store)) return 'no'",
    test: 'test/core/lun/at-once.test.ts',
  },
  {
    name: 'stripes-share-a-store',
    file: 'src/core/lun/slice-binding.ts',
    text: 'if (place < 0 || !this.isOf(slice, raid, stripe)) continue',
    instead: 'if (place < 0) continue',
    test: 'test/core/lun/stripe.test.ts',
  },
  {
    name: 'half-of-a-mirror-written-at-once',
    file: 'src/core/lun/lun.ts',
    text: "if (outcome !== 'partly') {",
    instead: "if (outcome !== 'no-such-outcome') {",
    test: 'test/core/lun/at-once.test.ts',
  },
]

/** @returns the source of a mutant's file with the fault in it. @throws Error unless its text is there exactly once */
export async function mutated(tree, { name, file, text, instead }) {
  const parts = (await readFile(join(tree, file), 'utf8')).split(text)
  if (parts.length !== 2) throw new Error(`mutant ${name}: its text is ${parts.length - 1} times in ${file}, not once`)
  return parts.join(instead)
}

/** For esbuild: the file of a mutant is read with its fault. */
export const mutantPlugin = (tree, mutant) => ({
  name: 'mutant',
  setup(build) {
    build.onLoad({ filter: /\.ts$/ }, async ({ path }) =>
      path === join(tree, mutant.file) ? { contents: await mutated(tree, mutant), loader: 'ts' } : undefined,
    )
  },
})

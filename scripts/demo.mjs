/**
 * The demo: a pool of eight sparse image files, a real file system on a raid1 LUN and on a raid5 LUN, disks taken away and put
 * back, an image of the LUN and the way back to it, a snapshot and a restore.
 * It leaves the pool in ./demo to play with. Run again it starts afresh, and destroys only the pool it made itself.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  closeSync,
  cpSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { setTimeout as pause } from 'node:timers/promises'
import { findProgram } from './setup.mjs'

const MIB = 1024 * 1024
const root = dirname(dirname(fileURLToPath(import.meta.url)))
const folder = join(root, 'demo')
const marker = join(folder, 'made-by-the-demo.json')
const pool = 'demo'
/** Eight: a pool of so many has five quorum disks, so two may be away and it still opens. */
const diskSizesMiB = [256, 256, 320, 320, 384, 384, 512, 640]
const imageSize = 128 * MIB
const disks = diskSizesMiB.map((_, i) => join(folder, `d${i + 1}.img`))
const away = join(folder, 'away')
const image = join(folder, 'image.img')
const copy = join(folder, 'copy.img')
const block = join(folder, 'block.bin')
const tree = join(folder, 'tree')

/** As the commands print it, which run in the project folder. */
const short = path => relative(root, path) || '.'
const title = text => console.log(`\n── ${text}`)
const say = text => console.log(`   ${text}`)

/** Runs lunar and returns its output; anything but `expected` as exit status ends the demo. */
function lunar(words, { expected = 0, show = true, input } = {}) {
  const args = words.map(word => (word.startsWith(folder) ? short(word) : word))
  if (show) console.log(`$ lunar ${args.join(' ')}`)
  const result = spawnSync(process.execPath, [join(root, 'bin', 'lunar.cjs'), ...args], {
    cwd: root,
    encoding: 'utf8',
    input,
    maxBuffer: 256 * MIB,
    stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
  })
  if (result.error) throw result.error
  if (show && (result.stdout || result.stderr)) console.log((result.stdout + result.stderr).trimEnd().replace(/^/gm, '  '))
  if (result.status !== expected)
    throw new Error(`lunar ${args.join(' ')} ended with status ${result.status}, not ${expected}:\n${result.stderr || result.stdout}`)
  return result.stdout
}

const ask = args => JSON.parse(lunar([...args, '--json'], { show: false })).data

function sha256(path) {
  const hash = createHash('sha256')
  const buffer = Buffer.allocUnsafe(4 * MIB)
  const fd = openSync(path, 'r')
  try {
    for (let length; (length = readSync(fd, buffer, 0, buffer.length, null)) > 0;) hash.update(buffer.subarray(0, length))
  } finally {
    closeSync(fd)
  }
  return hash.digest('hex')
}

/** 1 MiB of a file. */
function readAt(path, offset) {
  const data = Buffer.alloc(MIB)
  const fd = openSync(path, 'r')
  readSync(fd, data, 0, data.length, offset)
  closeSync(fd)
  return data
}

/** Writes 1 MiB into a LUN, and into the image, which then is what the LUN must be. */
function writeBoth(data, offset, lun = 'files') {
  writeFileSync(block, data)
  lunar(['lun', 'write', `${pool}/${lun}`, block, '--offset', String(offset)])
  const fd = openSync(image, 'r+')
  writeSync(fd, data, 0, data.length, offset)
  closeSync(fd)
}

function mustEqual(what, found, wanted) {
  if (found !== wanted) throw new Error(`${what}: ${found} is not ${wanted}`)
  say(`${what}: the same (sha256 ${wanted.slice(0, 16)}…)`)
}

/** What an earlier run left is taken away; a folder or a pool that is not the demo's own is never touched. */
function startAfresh() {
  if (existsSync(folder)) {
    if (!existsSync(marker)) throw new Error(`${short(folder)} exists and was not made by the demo: move it away, or remove it`)
    const { id } = JSON.parse(readFileSync(marker, 'utf8'))
    const known = ask(['pool', 'import', folder, ...(existsSync(away) ? [away] : [])]).find(each => each.id === id)
    if (known) lunar(['pool', 'destroy', known.name, '--yes', '--force=missing-disks'])
    rmSync(folder, { recursive: true })
  }
  const other = ask(['pool', 'list']).find(each => each.name === pool)
  if (!other) return
  // One of which no disk is left is only remembered, as after somebody removed ./demo.
  if (ask(['pool', 'export', pool, '--dry-run']).disks.length > 0)
    throw new Error(`there is another pool of the name "${pool}" (${other.id}): export it first (lunar pool export ${pool})`)
  lunar(['pool', 'export', pool])
}

/** An ext4 image made from the project's own files, or a tar of them where mkfs.ext4 is missing. */
function makeImage() {
  for (const part of ['src', 'test', 'docs', 'scripts', 'bin', 'package.json', 'node_modules/typescript/lib/typescript.js']) {
    const from = join(root, part)
    if (existsSync(from)) cpSync(from, join(tree, part), { recursive: true })
  }
  const mkfs = findProgram('mkfs.ext4')
  const [program, args] = mkfs ? [mkfs, ['-q', '-F', '-d', tree, image, `${imageSize / MIB}M`]] : ['tar', ['-cf', image, '-C', tree, '.']]
  const made = spawnSync(program, args, { encoding: 'utf8' })
  if (made.error) throw made.error
  if (made.status !== 0) throw new Error(`${program} failed: ${made.stderr}`)
  if (statSync(image).size > imageSize) throw new Error(`${short(image)} is larger than ${imageSize} bytes`)
  truncateSync(image, imageSize) // a tar ends before: the rest is a hole, and reads as zeros like the LUN
  rmSync(tree, { recursive: true })
  say(
    `${short(image)}: ${mkfs ? 'an ext4 file system' : 'a tar'} of ${imageSize / MIB} MiB, ${Math.round((statSync(image).blocks * 512) / MIB)} MiB of it data`,
  )
}

/** Commands leave an owner behind while there is work; a disk is only really away when nobody has it open. */
async function ownerGone() {
  for (let tries = 0; ask(['lock', 'show', pool]).held; tries++) {
    if (tries === 100) throw new Error('the owner of the pool did not leave')
    await pause(200)
  }
}

/** A disk that both LUNs lie on, so that raid1 is degraded and raid0 has lost ranges. */
function sharedDisk() {
  const stores = ask(['rstore', 'list', '--pool', pool])
  const on = name => new Set(stores.filter(store => store.lun === name).flatMap(store => store.disks))
  const shared = [...on('files')].filter(number => on('scratch').has(number))
  if (shared.length === 0) throw new Error('the two LUNs share no disk')
  return ask(['disk', 'show', String(shared[0]), '--pool', pool])
}

/** Moves disks to where nobody finds them. @returns what puts them back */
function takeAway(taken) {
  const moves = taken.map(({ number, path }) => ({ number, path, to: join(away, `disk${number}.img`) }))
  for (const { path, to } of moves) {
    console.log(`$ mv ${short(path)} ${short(to)}`)
    renameSync(path, to)
  }
  return () => {
    for (const { path, to } of moves) {
      console.log(`$ mv ${short(to)} ${short(path)}`)
      renameSync(to, path)
    }
  }
}

/** Brings disks into service again, and waits until they have what they missed. @returns bytes copied */
function bringBack(taken) {
  const tasks = new Set()
  for (const { number } of taken) {
    console.log(`$ lunar disk online ${number} --pool ${pool}`)
    const { task } = ask(['disk', 'online', String(number), '--pool', pool])
    if (task !== null) tasks.add(task)
  }
  let copied = 0
  for (const task of tasks) {
    lunar(['task', 'wait', String(task), '--pool', pool])
    copied += ask(['task', 'show', String(task), '--pool', pool]).done
  }
  return copied
}

/** The raid5 LUN must be as the image, read through whatever is there. */
function mustBeWhole(what) {
  lunar(['lun', 'export', `${pool}/parity`, copy, '--force=overwrite'], { show: false })
  mustEqual(what, sha256(copy), sha256(image))
}

/** Parity: one disk may go, then another; of two at once, exactly what both held of one row is refused. */
async function withParity() {
  const lun = `${pool}/parity`
  title('Parity: a raid5 LUN takes five disks for the room of four')
  lunar(['lun', 'create', lun, '--size', '128MiB', '--raid', 'raid5'])
  lunar(['lun', 'import', lun, image])
  const stores = ask(['rstore', 'list', lun])
  const all = ask(['disk', 'list', '--pool', pool])
  // Two disks of one store: columns, so that something is refused when both are away.
  const { members } = ask(['rstore', 'show', lun, String(stores[0].number)])
  const [first, second] = [members[1], members[2]].map(({ disk }) => all.find(({ number }) => number === disk))

  title('A disk is taken away: the raid5 LUN reads and writes right')
  await ownerGone()
  const putBack = takeAway([first])
  mustBeWhole('read as the XOR of the other four')
  const [{ offset }] = ask(['lun', 'map', lun]).filter(extent => extent.state === 'degraded')
  const before = readAt(image, offset)
  writeBoth(Buffer.alloc(MIB, 0x5a), offset, 'parity')
  mustBeWhole('the same after a write')
  await ownerGone()
  putBack()
  const copied = bringBack([first])
  say(`copied ${copied / 1024} KiB of the ${ask(['disk', 'show', String(first.number), '--pool', pool]).used / MIB} MiB in use on the disk`)
  if (copied < 1 || copied > 2 * MIB) throw new Error('that is not what had changed')

  title('Another disk: right again, so what came back is current')
  await ownerGone()
  const putSecondBack = takeAway([second])
  mustBeWhole('read without the other disk')
  await ownerGone()

  title('Two disks at once: what both would be needed for is refused, all else is served')
  const putFirstBack = takeAway([first])
  const lost = ask(['lun', 'map', '--lost', lun])
  if (lost.length === 0) throw new Error('nothing is refused without two disks of a store')
  const refused = lost.reduce((sum, { length }) => sum + length, 0)
  console.log(`$ lunar lun map --lost ${lun}`)
  say(`${lost.length} ranges refused, ${refused / MIB} of ${imageSize / MIB} MiB; the first from ${lost[0].offset / MIB} MiB on, ${lost[0].length / 1024} KiB`)
  lunar(['lun', 'read', lun, '--offset', String(lost[0].offset), '--length', String(lost[0].length), '--out', join(folder, 'lost.bin')], { expected: 8 })
  await servedAndRefused(lun, lost)
  await ownerGone()
  putFirstBack()
  putSecondBack()
  bringBack([first, second])
  mustBeWhole('both are back, and all of it is')
  lunar(['rstore', 'verify', lun])
  writeBoth(before, offset, 'parity') // so that the file system on it is whole again
}

/** Reads each range between the refused ones, which must be right, and each refused one, which must not be given; together they are the LUN. */
async function servedAndRefused(lun, lost) {
  const { openPool } = await import(pathToFileURL(join(root, 'dist', 'index.js')).href)
  const opened = await openPool(pool)
  const device = await opened.luns.open(lun.slice(pool.length + 1), { readOnly: true })
  const fd = openSync(image, 'r')
  try {
    let at = 0
    let served = 0
    for (const { offset, length } of [...lost, { offset: imageSize, length: 0 }]) {
      for (; at < offset;) {
        const part = Buffer.alloc(Math.min(MIB, offset - at))
        const wanted = Buffer.alloc(part.length)
        await device.read(at, part)
        readSync(fd, wanted, 0, wanted.length, at)
        if (!part.equals(wanted)) throw new Error(`the LUN is wrong at ${at}`)
        at += part.length
        served += part.length
      }
      if (length === 0) continue
      const refusal = await device.read(offset, Buffer.alloc(length)).then(
        () => undefined,
        error => error,
      )
      if (refusal?.code !== 'ERR_DATA_LOST') throw new Error(`${length} bytes at ${offset} are not refused`)
      at += length
    }
    say(`read range by range: ${served / MIB} MiB are right, the rest is refused, together they are the LUN`)
  } finally {
    closeSync(fd)
    await device.close()
    await opened.close()
  }
}

/** An image of the LUN "files", a change of it, proof that the image is as it was, and that the LUN is again. */
function stepBack(original, pattern, offset) {
  title('An image of the LUN: made at once, and it stays as it is')
  lunar(['lun', 'create', `${pool}/before`, '--size', '128MiB', '--raid', 'raid0'])
  lunar(['snap', 'configure', `${pool}/files`, 'before', '--name', 'way-back'])
  lunar(['EnableSnap', `${pool}/way-back`])
  writeFileSync(block, pattern)
  lunar(['lun', 'write', `${pool}/files`, block, '--offset', String(offset)])
  lunar(['lun', 'export', `${pool}/files`, copy, '--force=overwrite'])
  if (sha256(copy) === original) throw new Error('the LUN was not changed')
  lunar(['lun', 'export', `${pool}/before`, copy, '--force=overwrite'])
  mustEqual('the image, and the LUN before the change', sha256(copy), original)
  lunar(['snap', 'list', '--pool', pool])

  title('The way back: only what differs is copied')
  lunar(['StartSourceUpdate', `${pool}/way-back`, '--wait'])
  lunar(['lun', 'export', `${pool}/files`, copy, '--force=overwrite'])
  mustEqual('the LUN, and what it was before the change', sha256(copy), original)
}

/** A snapshot of the LUN "files", a change, and a restore; the state before the restore is kept, too. */
function withSnapshot(original, pattern, offset) {
  title('A snapshot: no byte is copied, and it stays as it is')
  lunar(['snap', 'create', `${pool}/files@monday`, '--read-only'])
  writeFileSync(block, pattern)
  lunar(['lun', 'write', `${pool}/files`, block, '--offset', String(offset)])
  const exported = name => {
    lunar(['lun', 'export', `${pool}/${name}`, copy, '--force=overwrite'], { show: false })
    return sha256(copy)
  }
  const changed = exported('files')
  if (changed === original) throw new Error('the LUN was not changed')
  mustEqual('the snapshot, and the LUN before the change', exported('files@monday'), original)
  lunar(['snap', 'diff', `${pool}/files@monday`, 'files'])

  title('The LUN is restored: it reads as the snapshot at once')
  lunar(['snap', 'restore', `${pool}/files@monday`, '--keep-before', 'changed', '--yes', '--wait'])
  mustEqual('the LUN, and what it was before the change', exported('files'), original)
  mustEqual('the state before the restore, and the changed LUN', exported('files@changed'), changed)
  lunar(['snap', 'tree', `${pool}/files`])
}

async function demo() {
  title('Eight sparse image files of mixed sizes become a pool')
  startAfresh()
  mkdirSync(folder)
  writeFileSync(marker, JSON.stringify({ id: null }))
  for (const [i, path] of disks.entries()) {
    writeFileSync(path, '')
    truncateSync(path, diskSizesMiB[i] * MIB)
  }
  lunar(['pool', 'create', pool, ...disks])
  writeFileSync(marker, JSON.stringify({ id: ask(['pool', 'show', pool]).id }))
  lunar(['lun', 'create', `${pool}/files`, '--size', '128MiB', '--raid', 'raid1'])
  lunar(['lun', 'create', `${pool}/scratch`, '--size', '128MiB', '--raid', 'raid0'])

  title('A real file system goes in, and comes out the same')
  makeImage()
  lunar(['lun', 'import', `${pool}/files`, image, '--verify'])
  lunar(['lun', 'import', `${pool}/scratch`, image, '--verify'])
  lunar(['lun', 'export', `${pool}/files`, copy])
  mustEqual('exported and original', sha256(copy), sha256(image))
  lunar(['lun', 'list', '--pool', pool])

  title('One disk image is taken away')
  await ownerGone()
  const disk = sharedDisk()
  mkdirSync(away)
  const awayPath = join(away, 'disk.img')
  console.log(`$ mv ${short(disk.path)} ${short(awayPath)}`)
  renameSync(disk.path, awayPath)
  lunar(['pool', 'status', pool, '--check'], { expected: 10 })

  title('The raid1 LUN still reads and writes right')
  lunar(['lun', 'export', `${pool}/files`, copy, '--force=overwrite'])
  mustEqual('exported without the disk, and original', sha256(copy), sha256(image))
  // Over a slice of which one copy is away: that copy is then old, and must be made new when the disk is back.
  const degraded = ask(['lun', 'map', `${pool}/files`]).find(extent => extent.state === 'degraded' && extent.disks.includes(disk.number))
  if (!degraded) throw new Error('nothing of the raid1 LUN lies on the disk that is away')
  const original = sha256(image)
  const before = readAt(image, degraded.offset)
  const pattern = Buffer.from(
    createHash('sha512')
      .update('written while a disk was away')
      .digest('hex')
      .repeat(MIB / 128),
  )
  writeBoth(pattern, degraded.offset)
  lunar(['lun', 'export', `${pool}/files`, copy, '--force=overwrite'])
  mustEqual('exported after the write, and what it must be', sha256(copy), sha256(image))

  title('Of the raid0 LUN, what lay on the disk is refused, and only that')
  lunar(['lun', 'map', '--lost', `${pool}/scratch`])
  const [lost] = ask(['lun', 'map', '--lost', `${pool}/scratch`])
  if (!lost) throw new Error('nothing of the raid0 LUN is lost')
  lunar(['lun', 'read', `${pool}/scratch`, '--offset', String(lost.offset), '--length', String(lost.length), '--out', join(folder, 'lost.bin')], {
    expected: 8,
  })

  title('The disk comes back: only what changed is copied')
  await ownerGone()
  console.log(`$ mv ${short(awayPath)} ${short(disk.path)}`)
  renameSync(awayPath, disk.path)
  const online = JSON.parse(lunar(['disk', 'online', String(disk.number), '--pool', pool, '--json'], { show: false })).data
  console.log(`$ lunar disk online ${disk.number} --pool ${pool}`)
  if (online.task === null) throw new Error('the disk has missed a write, and no task copies it')
  lunar(['task', 'wait', String(online.task), '--pool', pool])
  const task = ask(['task', 'show', String(online.task), '--pool', pool])
  say(`copied ${task.done / MIB} MiB of the ${disk.used / MIB} MiB in use on the disk`)
  if (task.done < 1 || task.done >= disk.used) throw new Error('that is not what had changed')
  lunar(['pool', 'status', pool, '--check'])
  lunar(['metadata', 'check', pool])
  lunar(['lun', 'export', `${pool}/files`, copy, '--force=overwrite'])
  mustEqual('raid1 with the disk back', sha256(copy), sha256(image))
  writeBoth(before, degraded.offset) // so that the file system on it is whole again
  mustEqual('the image as it was at first', sha256(image), original)

  await withParity()
  stepBack(original, pattern, degraded.offset)
  withSnapshot(original, pattern, degraded.offset)

  for (const file of [copy, block, image]) rmSync(file, { force: true })
  rmSync(away, { recursive: true })
  console.log(`
The pool "${pool}" in ${short(folder)} is yours to play with:

  node bin/lunar.cjs pool status ${pool}
  node bin/lunar.cjs lun show ${pool}/files
  node bin/lunar.cjs lun export ${pool}/files files.img      # mount it: mount -o loop,ro files.img /mnt
  node bin/lunar.cjs lun map ${pool}/scratch
  node bin/lunar.cjs rstore list ${pool}/parity               # disks and parity of each store
  node bin/lunar.cjs GetSnapStatus ${pool}/way-back             # "before" is an image of "files": write to either
  node bin/lunar.cjs lun export ${pool}/files@monday monday.img # a snapshot is read like a LUN
  node bin/lunar.cjs snap rotate files --pool ${pool} --keep daily=7 --dry-run
  node bin/lunar.cjs host add me --pool ${pool} && node bin/lunar.cjs present ${pool}/files --host me
  node bin/lunar.cjs serve ${pool}                           # then, elsewhere: node bin/lunar.cjs server status
  node bin/lunar.cjs lun create ${pool}/mine --size 10%FREE --raid raid1
  node bin/lunar.cjs explain ERR_POOL_FULL
  node bin/lunar.cjs pool destroy ${pool}                    # asks first
`)
}

try {
  await demo()
} catch (error) {
  console.error(`\nThe demo stopped: ${error.message}`)
  process.exitCode = 1
}

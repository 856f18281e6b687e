/**
 * The demo: a pool of six sparse image files, a real file system on a raid1 LUN, a disk taken away and put back, an image of
 * the LUN and the way back to it.
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
import { fileURLToPath } from 'node:url'
import { setTimeout as pause } from 'node:timers/promises'
import { findProgram } from './setup.mjs'

const MIB = 1024 * 1024
const root = dirname(dirname(fileURLToPath(import.meta.url)))
const folder = join(root, 'demo')
const marker = join(folder, 'made-by-the-demo.json')
const pool = 'demo'
const diskSizesMiB = [256, 256, 320, 384, 512, 640]
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

/** Writes 1 MiB into the LUN, and into the image, which then is what the LUN must be. */
function writeBoth(data, offset) {
  writeFileSync(block, data)
  lunar(['lun', 'write', `${pool}/files`, block, '--offset', String(offset)])
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
  for (const part of ['src', 'test', 'docs', 'scripts', 'bin', 'dist', 'node_modules/typescript', 'package.json']) {
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

async function demo() {
  title('Six sparse image files of mixed sizes become a pool')
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

  stepBack(original, pattern, degraded.offset)

  for (const file of [copy, block, image]) rmSync(file, { force: true })
  rmSync(away, { recursive: true })
  console.log(`
The pool "${pool}" in ${short(folder)} is yours to play with:

  node bin/lunar.cjs pool status ${pool}
  node bin/lunar.cjs lun show ${pool}/files
  node bin/lunar.cjs lun export ${pool}/files files.img      # mount it: mount -o loop,ro files.img /mnt
  node bin/lunar.cjs lun map ${pool}/scratch
  node bin/lunar.cjs GetSnapStatus ${pool}/way-back             # "before" is an image of "files": write to either
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

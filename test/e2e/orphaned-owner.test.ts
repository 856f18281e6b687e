import { spawnSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { expect, test } from 'vitest'
import { useProgram } from '../support/program.ts'

const lunar = useProgram()

test('an owner whose work waits for ever leaves when the files of its disks are deleted', { timeout: 60_000 }, () => {
  const disks = lunar.paths('d0', 'd1')
  lunar.ok('pool', 'create', 'tank', ...disks, '--size', '64MiB')
  for (const name of ['a', 'b']) lunar.ok('lun', 'create', `tank/${name}`, '--size', '8MiB', '--raid', 'raid0')
  lunar.ok('snap', 'configure', 'tank/a', 'b')
  lunar.ok('EnableSnap', 'tank/1')
  lunar.ok('SetCompleteImageDelay', '3600000', 'tank/1')
  lunar.ok('StartCompleteImage', 'tank/1')
  const { holder } = lunar.json<{ holder: { pid: number } }>('lock', 'show', 'tank')
  for (const disk of disks) rmSync(disk)
  // Ends when that process has.
  expect(spawnSync('tail', [`--pid=${holder.pid}`, '-f', '/dev/null'], { timeout: 30_000 }).status).toBe(0)
})

/** What a reading command loads, counted; how long it takes is a row of the bench. */
import { readFileSync, writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { useProgram } from '../support/program.ts'

const program = useProgram()

/** Writes down, when the process ends, what Node loaded of its own and every file that was required. */
const recorder = (to: string): string => `
const before = new Set(process.moduleLoadList)
process.on('exit', () => {
  const own = process.moduleLoadList.filter(name => !before.has(name)).map(name => name.replace(/^NativeModule /, 'node:'))
  require('node:fs').writeFileSync(${JSON.stringify(to)}, JSON.stringify({ own, files: Object.keys(require.cache), shared: process.report.getReport().sharedObjects }))
})`

interface Loaded {
  readonly own: string[]
  readonly files: string[]
  readonly shared: string[]
}

function loadedBy(...args: string[]): Loaded {
  const record = program.path('loaded.json')
  writeFileSync(program.path('recorder.cjs'), recorder(record))
  const result = program.runWith({ node: ['--require', program.path('recorder.cjs')] }, ...args)
  expect(result, result.stderr).toMatchObject({ status: 0 })
  return JSON.parse(readFileSync(record, 'utf8')) as Loaded
}

test('a reading command loads no native library, no file beside the bundle and none of the long modules of Node', () => {
  expect(program.run('pool', 'create', 'tank', 'd1.img', 'd2.img', 'd3.img', '--size', '64MiB').status).toBe(0)
  expect(program.run('lun', 'create', 'tank/mail', '--size', '4MiB', '--raid', 'raid1').status).toBe(0)
  const long = ['child_process', 'dgram', 'fs/promises', 'http', 'perf_hooks', 'readline', 'zlib'].map(name => `node:${name}`)
  for (const args of [
    ['lun', 'list'],
    ['lun', 'show', 'tank/mail'],
    ['disk', 'list'],
    ['pool', 'show', 'tank'],
    ['pool', 'status', 'tank'],
    ['pool', 'list'],
  ]) {
    const { own, files, shared } = loadedBy(...args)
    expect(files.map(file => file.slice(file.lastIndexOf('/') + 1)).sort(), args.join(' ')).toEqual(['lunar.cjs', 'lunar.cjs', 'recorder.cjs'])
    expect(
      shared.filter(file => file.endsWith('.node')),
      args.join(' '),
    ).toEqual([])
    expect(
      long.filter(name => own.includes(name)),
      args.join(' '),
    ).toEqual([])
  }
})

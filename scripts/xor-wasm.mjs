/**
 * Makes src/core/raid/xor-wasm.ts of src/core/raid/xor.wat. Assembles as much of the text format as that file uses: one memory, functions
 * without results, instructions that are not folded.
 *
 *   node scripts/xor-wasm.mjs           writes it again
 *   node scripts/xor-wasm.mjs --check   fails when it is not what the text says
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './setup.mjs'

/** Opcode bytes, and what stands behind them: a name of a local or label, a number, or the alignment (log2) of a memory access. */
const instructions = {
  loop: { code: [0x03, 0x40], label: true },
  end: { code: [0x0b] },
  br_if: { code: [0x0d], depth: true },
  'local.get': { code: [0x20], local: true },
  'local.set': { code: [0x21], local: true },
  'local.tee': { code: [0x22], local: true },
  'i32.const': { code: [0x41], number: true },
  'i32.lt_u': { code: [0x49] },
  'i32.add': { code: [0x6a] },
  'v128.load': { code: [0xfd, 0x00], align: 4 },
  'v128.store': { code: [0xfd, 0x0b], align: 4 },
  'v128.xor': { code: [0xfd, 0x51] },
}
const I32 = 0x7f

/** The text as nested arrays of words. */
function parse(text) {
  const words = text.replace(/;;.*/g, '').match(/[()]|"[^"]*"|[^\s()"]+/g)
  const stack = [[]]
  for (const word of words) {
    if (word === '(') stack.push([])
    else if (word === ')') {
      const done = stack.pop()
      stack.at(-1).push(done)
    } else stack.at(-1).push(word)
  }
  return stack[0][0]
}

function unsigned(value) {
  const bytes = []
  for (; value > 127; value >>>= 7) bytes.push((value & 127) | 128)
  return [...bytes, value]
}

function signed(value) {
  const bytes = []
  for (; value < -64 || value > 63; value >>= 7) bytes.push((value & 127) | 128)
  return [...bytes, value & 127]
}

const vector = items => [...unsigned(items.length), ...items.flat()]
const section = (id, content) => [id, ...unsigned(content.length), ...content]
const bytesOf = text => vector([...Buffer.from(text.slice(1, -1))])

/** Code of a function: its parameters are its locals. */
function body(params, words) {
  const bytes = []
  const labels = []
  for (let i = 0; i < words.length; i++) {
    const instruction = instructions[words[i]]
    if (!instruction) throw new Error(`the instruction "${words[i]}" is not known`)
    bytes.push(...instruction.code)
    if (instruction.label) labels.push(words[++i])
    if (words[i] === 'end') labels.pop()
    if (instruction.depth) bytes.push(...unsigned(labels.length - 1 - labels.lastIndexOf(words[++i])))
    if (instruction.local) bytes.push(...unsigned(params.indexOf(words[++i])))
    if (instruction.number) bytes.push(...signed(Number(words[++i])))
    if (instruction.align !== undefined) {
      const offset = words[i + 1]?.startsWith('offset=') ? Number(words[++i].slice('offset='.length)) : 0
      bytes.push(instruction.align, ...unsigned(offset))
    }
  }
  const code = [0, ...bytes, 0x0b] // no locals besides the parameters
  return [...unsigned(code.length), ...code]
}

/** @returns the bytes of the module that the text describes */
function assemble(text) {
  const [, ...parts] = parse(text)
  const [memory] = parts.filter(([kind]) => kind === 'memory')
  const functions = parts.filter(([kind]) => kind === 'func').map(([, [, name], ...rest]) => ({ name, rest }))
  const types = []
  const codes = []
  for (const { rest } of functions) {
    const params = rest.filter(Array.isArray).map(([, name]) => name)
    types.push([0x60, ...vector(params.map(() => I32)), 0])
    codes.push(
      body(
        params,
        rest.filter(word => !Array.isArray(word)),
      ),
    )
  }
  const exports = [[...bytesOf(memory[1][1]), 2, 0], ...functions.map(({ name }, i) => [...bytesOf(name), 0, i])]
  return Buffer.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, vector(types)),
    ...section(3, vector(functions.map((_, i) => [i]))),
    ...section(5, vector([[1, ...unsigned(Number(memory[2])), ...unsigned(Number(memory[3]))]])),
    ...section(7, vector(exports)),
    ...section(10, vector(codes)),
  ])
}

const source = join(root, 'src', 'core', 'raid', 'xor.wat')
const target = join(root, 'src', 'core', 'raid', 'xor-wasm.ts')
const base64 = assemble(readFileSync(source, 'utf8')).toString('base64')
const lines = base64.match(/.{1,120}/g).map(line => `  '${line}'`)
const made = `/** xor.wat, assembled by scripts/xor-wasm.mjs: not to be edited. */\nexport const xorWasm =\n${lines.join(' +\n')}\n`
if (!process.argv.includes('--check')) {
  writeFileSync(target, made)
} else if (readFileSync(target, 'utf8') !== made) {
  process.stderr.write(`${target} is not what xor.wat says: node scripts/xor-wasm.mjs\n`)
  process.exitCode = 1
}

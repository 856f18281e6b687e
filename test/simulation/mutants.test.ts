import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'

interface Mutant {
  readonly name: string
  readonly file: string
  readonly text: string
  readonly instead: string
  readonly test?: string
}
const { mutants } = (await import(new URL('mutants.mjs', import.meta.url).href)) as { mutants: readonly Mutant[] }
const tree = join(import.meta.dirname, '..', '..')

test.each(mutants)('the text that mutant $name changes is in its file once', async ({ file, text, instead, test: testFile }) => {
  const source = await readFile(join(tree, file), 'utf8')
  expect(source.split(text)).toHaveLength(2)
  expect(instead).not.toBe(text)
  if (testFile) await expect(readFile(join(tree, testFile))).resolves.toBeDefined()
})

test('every mutant has a name of its own', () => {
  expect(new Set(mutants.map(({ name }) => name)).size).toBe(mutants.length)
})

/**
 * Writes docs/api, the reference of the library, from the built declarations (dist/types) and their comments: one page a
 * declaration file, and an index. `--check` compares and changes nothing.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import prettier from 'prettier'
import ts from 'typescript'

const root = fileURLToPath(new URL('..', import.meta.url))
const types = join(root, 'dist', 'types')
const target = join(root, 'docs', 'api')

const program = ts.createProgram([join(types, 'index.d.ts')], {
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  target: ts.ScriptTarget.ES2022,
  lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
  types: ['node'],
})
const checker = program.getTypeChecker()

/** What index.d.ts exports, at the place of its declaration. */
function exported() {
  const index = program.getSourceFile(join(types, 'index.d.ts'))
  return checker.getExportsOfModule(checker.getSymbolAtLocation(index)).map(symbol => {
    const own = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
    const declaration = own.declarations[0]
    const statement = ts.isVariableDeclaration(declaration) ? declaration.parent.parent : declaration
    const file = statement.getSourceFile().fileName
    // What api.ts is put together from stands with it.
    const page = basename(dirname(file)) === 'api' ? 'api' : basename(file, '.d.ts')
    return { name: symbol.name, symbol: own, statement, page, file, at: statement.getStart() }
  })
}

const kinds = new Map([
  [ts.SyntaxKind.ClassDeclaration, 'class'],
  [ts.SyntaxKind.FunctionDeclaration, 'function'],
  [ts.SyntaxKind.VariableStatement, 'function'],
  [ts.SyntaxKind.InterfaceDeclaration, 'interface'],
  [ts.SyntaxKind.TypeAliasDeclaration, 'type'],
])

const plain = text => text.replace(/\{@link ([^}]+)\}/g, '`$1`')

/** Sentences of the comment, then what it says about parameters, result and errors. */
function docOf(statement) {
  const [comment] = ts.getJSDocCommentsAndTags(statement).filter(ts.isJSDoc)
  if (!comment) return { text: '', tags: [] }
  const tags = (comment.tags ?? []).map(tag => {
    const text = plain(ts.getTextOfJSDocComment(tag.comment) ?? '')
    const about = { returns: 'Returns', throws: 'Throws' }[tag.tagName.text] ?? `\`${tag.name?.getText() ?? tag.tagName.text}\``
    return `- ${about}: ${text}`
  })
  return { text: plain(ts.getTextOfJSDocComment(comment.comment) ?? ''), tags }
}

/** The declaration without `export declare`, without its own comment and without private members. */
function codeOf({ statement, symbol }) {
  if (ts.isTypeAliasDeclaration(statement) && statement.type.getText().startsWith('keyof typeof')) {
    const words = checker.getDeclaredTypeOfSymbol(symbol).types.map(({ value }) => JSON.stringify(value))
    return `type ${symbol.name} = ${words.join(' | ')}`
  }
  return statement
    .getText()
    .replace(/^(export |declare )+/, '')
    .replace(/^ +private .*\n/gm, '')
    .replace(/^ +protected constructor.*\n/gm, '')
}

function section(entry) {
  const { text, tags } = docOf(entry.statement)
  return [`## ${entry.name}`, text, tags.join('\n'), `\`\`\`ts\n${codeOf(entry)}\n\`\`\``].filter(part => part !== '').join('\n\n')
}

const note = '<!-- Made by scripts/api-doc.mjs from the declarations; change the comments there. -->'
const firstSentence = text => /^[\s\S]*?(?:\.(?=\s|$)|$)/.exec(text)[0].replace(/\s+/g, ' ')

/** What people look for first. */
const first = ['open-pool', 'pool', 'disks', 'luns', 'lun-device', 'relationships', 'snapshots', 'table2', 'pools', 'errors', 'error-table']
const rank = page => (first.includes(page) ? first.indexOf(page) : first.length)

function pages() {
  const entries = exported()
  const names = [...new Set(entries.map(({ page }) => page))].sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1))
  const made = new Map()
  const index = [
    '# The library',
    note,
    "`import { openPool } from 'lunar'`. All errors are `LunarError` with a `code`; sizes and offsets are bytes, times RFC 3339.",
  ]
  for (const page of names) {
    const own = entries.filter(entry => entry.page === page).sort((a, b) => (a.file === b.file ? a.at - b.at : a.file < b.file ? -1 : 1))
    made.set(`${page}.md`, [`# ${page}`, note, ...own.map(section)].join('\n\n'))
    const lines = own.map(entry => {
      const about = firstSentence(docOf(entry.statement).text)
      return `- [\`${entry.name}\`](${page}.md#${entry.name.toLowerCase()}), ${kinds.get(entry.statement.kind)}${about === '' ? '' : `: ${about}`}`
    })
    index.push(`## ${page}`, lines.join('\n'))
  }
  made.set('README.md', index.join('\n\n'))
  return made
}

async function formatted() {
  const config = { ...(await prettier.resolveConfig(join(root, 'package.json'))), parser: 'markdown' }
  const made = new Map()
  for (const [name, text] of pages()) made.set(name, await prettier.format(`${text}\n`, config))
  return made
}

const made = await formatted()
const present = existsSync(target) ? readdirSync(target) : []
if (process.argv.includes('--check')) {
  const differs = [...new Set([...present, ...made.keys()])].filter(
    name => !present.includes(name) || readFileSync(join(target, name), 'utf8') !== made.get(name),
  )
  for (const name of differs) process.stderr.write(`docs/api/${name} is not what the declarations say: run node scripts/api-doc.mjs\n`)
  process.exitCode = differs.length === 0 ? 0 : 1
} else {
  mkdirSync(target, { recursive: true })
  for (const name of present.filter(name => !made.has(name))) rmSync(join(target, name))
  for (const [name, text] of made) writeFileSync(join(target, name), text)
}

/** Declarations of the library: those that src/index.ts leads to, none of what it does not show. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** Replaces `folder` with index.d.ts and the declarations it needs, at the places of their sources. */
export function writeDeclarations(folder) {
  const work = mkdtempSync(join(tmpdir(), 'lunar-types-'))
  try {
    const all = emitAll(work)
    rmSync(folder, { recursive: true, force: true })
    for (const [file, text] of reachable(all)) {
      const target = join(folder, relative(all, file))
      mkdirSync(dirname(target), { recursive: true })
      writeFileSync(target, text)
    }
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

/** tsc emits a declaration for every file that is imported, engine and all. @returns the folder */
function emitAll(work) {
  const config = {
    extends: join(root, 'tsconfig.json'),
    compilerOptions: {
      noEmit: false,
      declaration: true,
      emitDeclarationOnly: true,
      stripInternal: true,
      rootDir: join(root, 'src'),
      outDir: join(work, 'out'),
      typeRoots: [join(root, 'node_modules', '@types')],
    },
    files: [join(root, 'src', 'index.ts')],
    include: [],
  }
  writeFileSync(join(work, 'tsconfig.json'), JSON.stringify(config))
  execFileSync(process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', join(work, 'tsconfig.json')], {
    stdio: ['ignore', 2, 2],
    cwd: root,
  })
  return join(work, 'out')
}

/** Relative imports in declarations: in statements, and inside of types. */
const imports = /(\bfrom |\bimport\()(['"])(\.[^'"]+)\.ts\2/g

/** @returns file names and texts, whose imports name the JavaScript beside them, as declarations do */
function reachable(folder) {
  const found = new Map()
  const visit = file => {
    if (found.has(file)) return
    const text = readFileSync(file, 'utf8')
    found.set(file, text.replace(imports, '$1$2$3.js$2'))
    for (const match of text.matchAll(imports)) visit(join(dirname(file), `${match[3]}.d.ts`))
  }
  visit(join(folder, 'index.d.ts'))
  return found
}

/**
 * Writes share/openapi.json, the description of the control socket (OpenAPI 3.1), from the declarations of the verbs in
 * src/core/server/api.ts and of the functions of Table 2 beside it: their parameters and results, and what is said of each there. `--check` compares and changes nothing.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import prettier from 'prettier'
import ts from 'typescript'

const root = fileURLToPath(new URL('..', import.meta.url))
const target = join(root, 'share', 'openapi.json')
const source = join(root, 'src', 'core', 'server', 'api.ts')
const table2 = join(root, 'src', 'core', 'server', 'table2-api.ts')
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

const program = ts.createProgram([source, table2, join(root, 'src', 'core', 'base', 'errors.ts'), join(root, 'src', 'core', 'server', 'verbs.ts')], {
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  target: ts.ScriptTarget.ES2022,
  lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
  types: ['node'],
  strict: true,
  exactOptionalPropertyTypes: true,
  allowImportingTsExtensions: true,
  noEmit: true,
})
const checker = program.getTypeChecker()
const schemas = new Map()

const described = (schema, symbol) => {
  const text = symbol ? ts.displayPartsToString(symbol.getDocumentationComment(checker)).replace(/\s+/g, ' ') : ''
  return text === '' ? schema : { description: text, ...schema }
}

/** Interfaces and types that are exported have a name in the description, too. */
function nameOf(type) {
  const symbol = type.aliasSymbol ?? (type.isClassOrInterface() ? type.symbol : undefined)
  const declared = symbol?.declarations?.[0]
  return declared && declared.getSourceFile().fileName.startsWith(join(root, 'src')) && !type.aliasTypeArguments?.length ? symbol.name : undefined
}

function schemaOf(type) {
  const name = nameOf(type)
  if (name === undefined || name === 'Change' || name === 'QuietChange') return bodyOf(type)
  if (!schemas.has(name)) {
    schemas.set(name, {}) // it may contain itself
    schemas.set(name, described(bodyOf(type), type.aliasSymbol ?? type.symbol))
  }
  return { $ref: `#/components/schemas/${name}` }
}

function bodyOf(type) {
  const { flags } = type
  if (flags & ts.TypeFlags.Null) return { type: 'null' }
  if (type.isStringLiteral()) return { const: type.value }
  if (flags & ts.TypeFlags.BooleanLiteral) return { const: checker.typeToString(type) === 'true' }
  if (flags & ts.TypeFlags.BooleanLike) return { type: 'boolean' }
  if (flags & ts.TypeFlags.NumberLike) return { type: 'number' }
  if (flags & ts.TypeFlags.StringLike) return { type: 'string' }
  if (flags & ts.TypeFlags.NonPrimitive) return { type: 'object' }
  if (type.isUnion()) return unionOf(type)
  if (checker.isArrayType(type)) return { type: 'array', items: schemaOf(checker.getTypeArguments(type)[0]) }
  return objectOf(type)
}

function unionOf(type) {
  const parts = type.types.filter(part => !(part.flags & ts.TypeFlags.Undefined))
  const words = parts.filter(part => part.isStringLiteral()).map(part => part.value)
  const booleans = parts.filter(part => part.flags & ts.TypeFlags.BooleanLiteral)
  const rest = parts.filter(part => !part.isStringLiteral() && !(part.flags & ts.TypeFlags.BooleanLiteral))
  const any = rest.map(schemaOf)
  if (words.length > 0) any.unshift({ enum: words })
  if (booleans.length === 2) any.unshift({ type: 'boolean' })
  else for (const part of booleans) any.unshift(bodyOf(part))
  return any.length === 1 ? any[0] : { anyOf: any }
}

function objectOf(type) {
  const index = checker.getIndexInfoOfType(type, ts.IndexKind.String)
  if (index) return { type: 'object', additionalProperties: schemaOf(index.type) }
  const properties = {}
  const required = []
  for (const property of checker.getPropertiesOfType(type)) {
    const optional = (property.flags & ts.SymbolFlags.Optional) !== 0
    const propertyType = checker.getTypeOfSymbol(property)
    if (propertyType.getCallSignatures().length > 0) throw new Error(`${checker.typeToString(type)}.${property.name} is a function: it cannot be sent`)
    properties[property.name] = described(schemaOf(optional ? checker.getNonNullableType(propertyType) : propertyType), property)
    if (!optional) required.push(property.name)
  }
  return { type: 'object', properties, ...(required.length > 0 ? { required } : {}) }
}

const exportOf = (file, name) => {
  const module = checker.getSymbolAtLocation(program.getSourceFile(file))
  const found = checker.getExportsOfModule(module).find(symbol => symbol.name === name)
  if (!found) throw new Error(`${file} exports no ${name}`)
  return checker.getDeclaredTypeOfSymbol(found)
}

/** What kind of verb each is, from its table. */
function verbKinds() {
  const file = program.getSourceFile(join(root, 'src', 'core', 'server', 'verbs.ts'))
  const kinds = new Map()
  ts.forEachChild(file, node => {
    if (!ts.isVariableStatement(node)) return
    const [declaration] = node.declarationList.declarations
    if (declaration.name.getText() !== 'verbKinds') return
    for (const property of declaration.initializer.properties) kinds.set(property.name.text, property.initializer.text)
  })
  return kinds
}

const json = schema => ({ content: { 'application/json': { schema } } })
const failures = {
  401: { description: 'On the port of the HTTP API: no token, or none that is good there.', ...json({ $ref: '#/components/schemas/ErrorWire' }) },
  422: { description: 'It was refused or failed; the code is one of `lunar explain`.', ...json({ $ref: '#/components/schemas/ErrorWire' }) },
  503: {
    description: 'The owner goes away, and did nothing of it: ask whoever owns the pool next.',
    ...json({ type: 'object', properties: { moved: { const: true } } }),
  },
}
const kindWords = {
  metadata: 'Reads what is on the disks.',
  live: 'Asks what the owner knows.',
  change: 'Changes the pool, and is kept in its history.',
  owner: 'Is answered by the owner itself.',
}

const textOf = symbol => ts.displayPartsToString(symbol.getDocumentationComment(checker)).replace(/\s+/g, ' ')

/** What is called with parameters and answers with a result: a path for each name of the interface. */
function callsOf(file, name, path, tagOf, about) {
  const calls = checker.getPropertiesOfType(exportOf(file, name)).map(property => {
    const call = checker.getTypeOfSymbol(property)
    const part = key => checker.getTypeOfSymbol(call.getProperty(key))
    const operation = {
      operationId: property.name,
      tags: [tagOf(property.name)],
      description: [textOf(property), about(property.name)].filter(Boolean).join(' '),
      requestBody: { required: true, ...json(closed(bodyOf(part('params')))) },
      responses: {
        200: {
          description: 'What it found or did.',
          ...json({
            type: 'object',
            properties: {
              generation: { description: 'Administrative changes of the pool so far.', type: 'number' },
              data: schemaOf(part('result')),
              warnings: { type: 'array', items: { type: 'string' } },
            },
            required: ['generation', 'data', 'warnings'],
          }),
        },
        ...failures,
      },
    }
    return [`${path}/${property.name}`, { post: operation }]
  })
  return Object.fromEntries(calls)
}

function pathsOf() {
  const kinds = verbKinds()
  return {
    ...callsOf(
      source,
      'Verbs',
      '/v1/call',
      name => name.split('.')[0],
      name => kindWords[kinds.get(name)],
    ),
    ...callsOf(
      table2,
      'Table2',
      '/v1/table2',
      () => 'table2',
      () => '',
    ),
  }
}

/** Parameters that are not known are refused; results may get more keys (the API is additive). */
const closed = schema => ({ ...schema, additionalProperties: false })

const address = () => ({ default: 'localhost:9443', description: 'As `lunar server status` shows it.' })

function description() {
  const paths = {
    '/pools': {
      servers: [{ url: 'https://{address}', variables: { address: address() } }],
      get: {
        operationId: 'pools',
        description: 'The pools that are served on the port of the HTTP API. What each answers is below `/pools/NAME`.',
        security: [{ token: [] }],
        responses: {
          200: {
            description: 'Their names and ids.',
            ...json({
              type: 'object',
              properties: {
                pools: {
                  type: 'array',
                  items: { type: 'object', properties: { name: { type: 'string' }, id: { type: 'string' } }, required: ['name', 'id'] },
                },
              },
              required: ['pools'],
            }),
          },
          401: failures[401],
        },
      },
    },
    '/metrics': {
      get: {
        operationId: 'metrics',
        description: 'Metrics of the pool and of the process that owns it.',
        responses: { 200: { description: 'As Prometheus reads them.', content: { 'text/plain': { schema: { type: 'string' } } } } },
      },
    },
    '/v1/events': {
      get: {
        operationId: 'events',
        description: 'Events that are there, then each one when it is durable, until one of both sides ends it.',
        parameters: [{ name: 'after', in: 'query', description: 'Only events with a number above it.', schema: { type: 'integer', minimum: 0 } }],
        responses: {
          200: { description: 'An event a line.', content: { 'application/x-ndjson': { schema: schemaOf(exportOf(source, 'EventView')) } } },
          ...failures,
        },
      },
    },
    ...pathsOf(),
  }
  schemaOf(exportOf(join(root, 'src', 'core', 'base', 'errors.ts'), 'ErrorWire'))
  return {
    openapi: '3.1.0',
    info: {
      title: 'Lunar',
      version,
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      description:
        'The process that owns a pool answers on its control socket, which `lunar lock show` names; a server also on the port of `--api-listen`, to clients that show a token. Bytes are whole numbers, times RFC 3339. Names are never given another meaning; keys may be added to results.',
    },
    servers: [
      { url: 'http://lunar', description: 'A unix socket: `curl --unix-socket SOCKET http://lunar/v1/call/pool.show -d {}`.' },
      {
        url: 'https://{address}/pools/{pool}',
        description: 'The port of `lunar serve --api-listen`.',
        variables: { address: address(), pool: { default: 'tank', description: 'A pool that is served there.' } },
      },
    ],
    security: [{}, { token: [] }],
    paths,
    components: {
      securitySchemes: { token: { type: 'http', scheme: 'bearer', description: 'On the port: a token of the file that `--api-token-file` names.' } },
      schemas: Object.fromEntries([...schemas].sort(([a], [b]) => (a < b ? -1 : 1))),
    },
  }
}

const options = await prettier.resolveConfig(target)
const text = await prettier.format(JSON.stringify(description()), { ...options, filepath: target })
if (!process.argv.includes('--check')) writeFileSync(target, text)
else if (readFileSync(target, 'utf8') !== text) {
  process.stderr.write('share/openapi.json is not what src/core/server/api.ts says: node scripts/openapi.mjs\n')
  process.exitCode = 1
}

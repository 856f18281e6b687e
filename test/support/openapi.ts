/** The description that the package ships, and what holds answers to it. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import { expect } from 'vitest'

interface Schema {
  readonly [key: string]: unknown
}
interface Operation {
  readonly requestBody: { readonly content: { readonly 'application/json': { readonly schema: Schema } } }
  readonly responses: Readonly<Record<string, { readonly content: { readonly 'application/json': { readonly schema: Schema } } }>>
}
interface OpenApi {
  readonly openapi: string
  readonly paths: Readonly<Record<string, { readonly post?: Operation }>>
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> }
}

export const description = JSON.parse(readFileSync(join(import.meta.dirname, '../../share/openapi.json'), 'utf8')) as OpenApi

/** Objects have the keys that are named and no others, which for users is left open: there may be more some day. */
function closed(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(closed)
  if (typeof schema !== 'object' || schema === null) return schema
  const inner = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, closed(value)]))
  return 'properties' in inner && !('additionalProperties' in inner) ? { ...inner, additionalProperties: false } : inner
}

/** References as a validator that knows the schemas under one name resolves them. */
const named = (schema: unknown): string => JSON.stringify(schema).replaceAll('"#/components/schemas/', '"lunar#/$defs/')

export const ajv = new Ajv2020({ strict: true, allowUnionTypes: true })
ajv.addSchema({ $id: 'lunar', $defs: JSON.parse(named(closed(description.components.schemas))) as object })
export const compiled = (schema: Schema): ValidateFunction => ajv.compile(JSON.parse(named(closed(schema))) as object)

/** Parameters, or the reply, of a path are as it says. */
export function expectDescribed(path: string, part: 'params' | 'reply', value: unknown): void {
  const { requestBody, responses } = description.paths[path]!.post!
  const validate = compiled((part === 'params' ? requestBody : responses['200']!).content['application/json'].schema)
  expect.soft(validate(value), `${path}, ${part}: ${ajv.errorsText(validate.errors)}\n${JSON.stringify(value)}`).toBe(true)
}

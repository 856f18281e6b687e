/** How users name things: `pool/lun`, or `lun` with `--pool` or `LUNAR_POOL`. */
import { LunarError } from '../base/errors.ts'

export interface Reference {
  /** Undefined leaves the choice to the front door: LUNAR_POOL, or the only known pool. */
  readonly pool: string | undefined
  readonly name: string
}

/**
 * @param text what was typed for an object of a pool
 * @param poolFlag what `--pool` said
 * @param kind the word for the object in messages
 * @throws LunarError `ERR_USAGE` when both name a pool, and not the same; `ERR_BAD_NAME` when a part is empty or there are too many
 */
export function parseReference(text: string, poolFlag: string | undefined, kind: string): Reference {
  const parts = text.split('/')
  if (parts.length > 2 || parts.includes(''))
    throw new LunarError('ERR_BAD_NAME', `Cannot use ${JSON.stringify(text)} to name a ${kind}`, {
      why: `a ${kind} is named pool/name, or name`,
      fix: 'lunar pool list',
    })
  const [first, second] = parts as [string, string?]
  if (second === undefined) return { pool: poolFlag, name: first }
  if (poolFlag !== undefined && poolFlag !== first)
    throw new LunarError('ERR_USAGE', `Cannot use "${text}" with --pool ${poolFlag}`, {
      why: `the ${kind} is named in pool "${first}", the flag says pool "${poolFlag}"`,
      fix: 'leave one of the two out',
    })
  return { pool: first, name: second }
}

/** The same for things with numbers (`3`, `tank/3`). @throws LunarError `ERR_USAGE` when it is not a whole number */
export function parseNumbered(text: string, poolFlag: string | undefined, kind: string): { readonly pool: string | undefined; readonly number: number } {
  const { pool, name } = parseReference(text, poolFlag, kind)
  if (!/^\d{1,10}$/.test(name))
    throw new LunarError('ERR_USAGE', `Cannot use "${text}" as the number of a ${kind}`, { why: 'it is not a whole number', fix: `lunar ${kind} list` })
  return { pool, number: Number(name) }
}

/**
 * A LUN, or one of its redundant stores: `pool/lun`, `pool/lun/3`, and where a flag names the pool `lun` and `lun/3`.
 *
 * @throws LunarError `ERR_USAGE`, `ERR_BAD_NAME`
 */
export function parseStores(
  text: string,
  poolFlag: string | undefined,
): { readonly pool: string | undefined; readonly lun: string; readonly store: number | undefined } {
  const parts = text.split('/')
  const isLunOfFlag = parts.length === 2 && poolFlag !== undefined && parts[0] !== poolFlag && /^\d+$/.test(parts[1]!)
  const number = parts.length === 3 || isLunOfFlag ? parts.pop()! : undefined
  const { pool, name: lun } = parseReference(parts.join('/'), poolFlag, 'lun')
  return { pool, lun, store: number === undefined ? undefined : parseNumbered(number, pool, 'rstore').number }
}

/**
 * Relationships by `3`, `DcsSnap3` or name, with or without `pool/`. Those with a pool name it for all.
 *
 * @throws LunarError `ERR_USAGE` when two pools are named, `ERR_BAD_NAME`
 */
export function parseRelationships(texts: readonly string[], poolFlag: string | undefined): { readonly pool: string | undefined; readonly names: string[] } {
  return parseReferences(texts, poolFlag, 'relationship')
}

/** Several objects of one pool. @throws LunarError `ERR_USAGE` when two pools are named, `ERR_BAD_NAME` */
export function parseReferences(
  texts: readonly string[],
  poolFlag: string | undefined,
  kind: string,
): { readonly pool: string | undefined; readonly names: string[] } {
  const names: string[] = []
  let pool = poolFlag
  for (const text of texts) {
    const found = parseReference(text, pool, kind)
    pool = found.pool
    names.push(found.name)
  }
  return { pool, names }
}

/** A pool named as an argument or by `--pool`. @throws LunarError `ERR_USAGE` when both are given and differ */
export function parsePool(argument: string | undefined, poolFlag: string | undefined): string | undefined {
  if (argument !== undefined && poolFlag !== undefined && argument !== poolFlag)
    throw new LunarError('ERR_USAGE', `Cannot use pool "${argument}" with --pool ${poolFlag}`, {
      why: 'the two name different pools',
      fix: 'leave one of the two out',
    })
  return argument ?? poolFlag
}

/**
 * A disk by number, id or path. Paths have slashes of their own, so only `pool/NUMBER` is taken apart; for all others
 * the pool comes from `--pool`.
 */
export function diskReference(text: string, poolFlag: string | undefined): Reference {
  return /^[A-Za-z0-9][\w.-]*\/\d{1,10}$/.test(text) ? parseReference(text, poolFlag, 'disk') : { pool: poolFlag, name: text }
}

import { LunarError } from './errors.ts'

/** @throws LunarError `ERR_BAD_NAME` unless `name` can name a `kind` ("LUN", "pool", …) */
export function checkName(kind: string, name: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(name)) throw new LunarError('ERR_BAD_NAME', `Cannot use ${JSON.stringify(name)} as the name of a ${kind}`)
  return name
}

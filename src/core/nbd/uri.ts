/** Names of exports (doc/uri.md of NetworkBlockDevice/nbd). */
import { resolve } from 'node:path'
import { LunarError } from '../base/errors.ts'
import { STRING_MAX } from './protocol.ts'

const PORT = 10809

export interface NbdAddress {
  /** As it was given. */
  readonly uri: string
  /** Empty for the default export. */
  readonly export: string
  readonly at: { readonly path: string } | { readonly host: string; readonly port: number }
  /** TLS or nothing. */
  readonly tls: boolean
  /** Folder of `ca-cert.pem`, `client-cert.pem` and `client-key.pem`, which libnbd names so. */
  readonly certificates: string | undefined
}

export const isNbdUri = (text: string): boolean => /^nbds?(\+unix)?:\/\//.test(text)

/** @throws LunarError `ERR_USAGE` */
export function parseNbdUri(uri: string): NbdAddress {
  const refused = (why: string): LunarError =>
    new LunarError('ERR_USAGE', `Cannot use ${uri} as a disk`, { why, fix: 'write it like nbd://host:10809/export or nbd+unix:///export?socket=/path' })
  const scheme = /^(nbds?)(\+unix)?:\/\//.exec(uri)
  if (!scheme) throw refused('it is no NBD URI')
  let url: URL
  let name: string
  try {
    // Of a scheme that it does not know, URL leaves the host as it is.
    url = new URL(uri)
    name = decodeURIComponent(url.pathname.replace(/^\//, ''))
  } catch {
    throw refused('it is no URI')
  }
  if (Buffer.byteLength(name) > STRING_MAX) throw refused(`the name of its export has more than ${STRING_MAX} bytes`)
  const unknown = [...url.searchParams.keys()].find(key => key !== 'socket' && key !== 'tls-certificates')
  if (unknown !== undefined) throw refused(`it has an unknown parameter ${unknown}`)
  const common = { uri, export: name, tls: scheme[1] === 'nbds', certificates: url.searchParams.get('tls-certificates') ?? undefined }
  const socket = url.searchParams.get('socket')
  if (scheme[2]) {
    if (!socket) throw refused('it names no socket')
    return { ...common, at: { path: socket } }
  }
  if (socket !== null) throw refused('a socket goes with nbd+unix')
  if (url.hostname === '') throw refused('it names no host')
  return { ...common, at: { host: url.hostname.replace(/^\[|\]$/g, ''), port: url.port === '' ? PORT : Number(url.port) } }
}

/** Equal for two names of one export, as far as names tell: not for several names of one host. */
export const exportIdentity = ({ at, export: name }: NbdAddress): string =>
  'path' in at ? `nbd:${at.path}/${name}` : `nbd:${at.host.toLowerCase()}:${at.port}/${name}`

/** The same export, named so that it does not matter where the name is used. @throws LunarError `ERR_USAGE` */
export function absoluteUri(uri: string): string {
  parseNbdUri(uri)
  const [place = '', query = ''] = uri.split('?', 2)
  if (query === '') return uri
  const parameters = query.split('&').map(parameter => {
    const at = parameter.indexOf('=')
    const path = decodeURIComponent(parameter.slice(at + 1).replaceAll('+', ' '))
    return path.startsWith('/') ? parameter : `${parameter.slice(0, at)}=${encodeURIComponent(resolve(path)).replaceAll('%2F', '/')}`
  })
  return `${place}?${parameters.join('&')}`
}

/** Certificates as the documentation says how to make them, with openssl. */
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export interface Credentials {
  readonly key: Buffer
  readonly cert: Buffer
  readonly ca: Buffer
}

const openssl = (...args: string[]): void => {
  execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'pipe'] })
}

/** An authority in a folder of its own, which signs names. libnbd wants the files to be called as they are here. */
export class Authority {
  constructor(
    readonly folder: string,
    name = 'ca',
  ) {
    openssl(
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-days',
      '2',
      '-subj',
      `/CN=${name}`,
      '-keyout',
      this.path('ca-key.pem'),
      '-out',
      this.path('ca-cert.pem'),
    )
  }

  /** @param subject `/CN=db1` @returns PEM texts; the files are `FILE-key.pem` and `FILE-cert.pem` */
  sign(file: string, subject: string): Credentials {
    const [key, request, cert] = [this.path(`${file}-key.pem`), this.path(`${file}.csr`), this.path(`${file}-cert.pem`)]
    openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', subject, '-keyout', key, '-out', request)
    writeFileSync(this.path('san'), 'subjectAltName=DNS:localhost,IP:127.0.0.1\n')
    openssl(
      'x509',
      '-req',
      '-in',
      request,
      '-CA',
      this.path('ca-cert.pem'),
      '-CAkey',
      this.path('ca-key.pem'),
      '-CAcreateserial',
      '-days',
      '2',
      '-extfile',
      this.path('san'),
      '-out',
      cert,
    )
    return { key: readFileSync(key), cert: readFileSync(cert), ca: readFileSync(this.path('ca-cert.pem')) }
  }

  private path(file: string): string {
    return join(this.folder, file)
  }
}

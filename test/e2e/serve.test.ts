/** `lunar serve` with unmodified clients (serving.md): who reaches what, what is refused meanwhile, starting and stopping. */
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, statSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { MIB } from '../../src/core/base/units.ts'
import type { LockView, LunDetail, ServerStatus, TaskView } from '../../src/core/server/api.ts'
import { useProgram } from '../support/program.ts'
import { client, clientOk, holdOpen, serve } from '../support/server.ts'
import { stamped } from '../support/sim.ts'

interface NbdInfo {
  readonly exports: { readonly 'export-name': string; readonly 'export-size': number; readonly is_read_only: boolean; readonly description: string }[]
}

describe('serving', { timeout: 120_000 }, () => {
  const lunar = useProgram()
  const socketsOf = (...hosts: string[]): string[] => hosts.flatMap(host => ['--socket', `${host}=${lunar.path(`${host}.sock`)}`])
  const names = (uri: string): string[] =>
    (JSON.parse(clientOk('nbdinfo', '--list', '--json', uri)) as NbdInfo).exports.map(found => found['export-name']).sort()
  const status = (): ServerStatus => lunar.json<ServerStatus>('server', 'status', 'tank')
  const write = (uri: string, pattern: number): string => clientOk('qemu-io', '-f', 'raw', '-c', `write -P ${pattern} 0 64k`, '-c', 'flush', uri)
  const reads = (uri: string, pattern: number): string => clientOk('qemu-io', '-f', 'raw', '-r', '-c', `read -P ${pattern} 0 64k`, uri)

  function makeTank(): void {
    lunar.makeTank(5)
    lunar.ok('lun', 'create', 'tank/db', '--size', '16MiB', '--raid', 'raid1')
    lunar.ok('lun', 'create', 'tank/web', '--size', '8MiB', '--raid', 'raid0')
    for (const host of ['db1', 'web1']) lunar.ok('host', 'add', `tank/${host}`)
    lunar.ok('present', 'tank/db', '--host', 'db1')
  }

  test('a host reaches what is presented to it and nothing else, and other commands go on', async () => {
    makeTank()
    lunar.ok('lun', 'write', 'tank/db', lunar.write('before', stamped(MIB, 3)))
    lunar.ok('snap', 'create', 'tank/db@monday', '--read-only')
    lunar.ok('present', 'tank/web', '--host', 'web1')
    lunar.ok('present', 'tank/db@monday', '--host', 'web1', '--read-only')
    const server = await serve(lunar, ['tank', ...socketsOf('db1', 'web1')], 2)
    expect(statSync(lunar.path('db1.sock')).mode & 0o777).toBe(0o600)
    expect(names(server.uri('db1', ''))).toEqual(['tank/db'])
    expect(names(server.uri('web1', ''))).toEqual(['tank/db@monday', 'tank/web'])
    for (const name of ['web', 'db@monday', 'tank/web', 'nothing']) expect(client('nbdinfo', server.uri('db1', name)).status).not.toBe(0)
    expect(lunar.json<LockView>('lock', 'show', 'tank').holder?.kind).toBe('server')

    write(server.uri('db1', 'db'), 0x5a)
    reads(server.uri('db1', 'tank/db'), 0x5a)
    expect(lunar.run('lun', 'read', 'tank/db', '--length', '64KiB').out.equals(Buffer.alloc(64 * 1024, 0x5a))).toBe(true)
    // The snapshot is of before, and takes no writes.
    clientOk('nbdcopy', server.uri('web1', 'db@monday'), lunar.path('monday.img'))
    expect(lunar.run('lun', 'read', 'tank/db@monday').out.subarray(0, MIB).equals(stamped(MIB, 3))).toBe(true)
    expect(clientOk('cmp', '-n', String(MIB), lunar.path('monday.img'), lunar.path('before'))).toBe('')
    expect(client('qemu-io', '-f', 'raw', '-c', 'write 0 4k', server.uri('web1', 'db@monday')).status).not.toBe(0)

    // What is presented now is there now, and a new host has its socket.
    lunar.ok('unpresent', 'tank/web')
    expect(names(server.uri('web1', ''))).toEqual(['tank/db@monday'])
    lunar.ok('host', 'add', 'tank/late')
    lunar.ok('present', 'tank/web', '--host', 'late')
    const late = status().listeners.find(({ host }) => host === 'late')!
    expect(names(late.uri.replace('EXPORT', ''))).toEqual(['tank/web'])
    lunar.ok('unpresent', 'tank/web')
    lunar.ok('host', 'remove', 'tank/late')
    expect(existsSync(late.address)).toBe(false)

    expect(await server.kill('SIGTERM')).toBe(0)
    expect(existsSync(lunar.path('db1.sock'))).toBe(false)
    expect(lunar.run('lun', 'read', 'tank/db', '--length', '64KiB').out.equals(Buffer.alloc(64 * 1024, 0x5a))).toBe(true)
    expect(status()).toMatchObject({ running: false, clients: [] })
  })

  test('what would pull a volume from under a client is refused and names it; --disconnect drains', async () => {
    makeTank()
    lunar.ok('lun', 'create', 'tank/image', '--size', '16MiB', '--raid', 'raid0')
    lunar.ok('snap', 'configure', 'tank/db', 'image')
    lunar.ok('EnableSnap', 'tank/1')
    lunar.ok('present', 'tank/image', '--host', 'web1')
    const server = await serve(lunar, ['tank', ...socketsOf('db1', 'web1')], 2)
    const holders = [await holdOpen(lunar, server.uri('db1', 'db')), await holdOpen(lunar, server.uri('web1', 'image'))]
    expect(
      status()
        .clients.map(({ host, volume, readOnly }) => [host, volume, readOnly])
        .sort(),
    ).toEqual([
      ['db1', 'db', false],
      ['web1', 'image', false],
    ])
    expect(lunar.ok('server', 'status', 'tank')).toMatch(/db1 +tank\/db +read-write/)
    // The layers that are wired, from the client down to the disks.
    expect(lunar.json<LunDetail>('lun', 'show', 'tank/db').layers).toMatchObject({
      ways: [
        {
          layer: 'protocol',
          about: expect.stringMatching(/^NBD, client 1 \(host db1, /) as string,
          below: [{ layer: 'access', about: 'read-write', below: [] }],
        },
      ],
      volume: [
        {
          layer: 'snapshot',
          about: 'copy on first write: source of 1 relationship',
          below: [{ layer: 'lun', below: [{ layer: 'redundancy', about: expect.stringContaining('mirror (2 copies)') as string, below: [] }] }],
        },
      ],
    })
    expect(lunar.ok('lun', 'show', 'tank/db')).toMatch(/\nways in:\n.*\n {2}protocol +NBD, client 1 .*\n {4}access +read-write\n/)
    for (const [host, ...command] of [
      ['web1', 'EnableNewSnap', 'tank/1'],
      ['web1', 'StartImageUpdate', 'tank/1'],
      ['web1', 'DisableSnap', 'tank/1'],
      ['db1', 'StartSourceUpdate', 'tank/1'],
      ['db1', 'unpresent', 'tank/db'],
      ['db1', 'unpresent', 'tank/db', '--dry-run'],
      ['db1', 'present', 'tank/db', '--host', 'db1', '--read-only'],
      ['db1', 'lun', 'swap', 'tank/db', 'image'],
      ['db1', 'lun', 'resize', 'tank/db', '--size', '4MiB'],
      ['db1', 'pool', 'export', 'tank'],
    ] as const)
      expect(lunar.refusedJson(command[0] === 'lun' && command[1] === 'resize' ? 'ERR_IN_RELATIONSHIP' : 'ERR_BUSY', ...command).blockers.join()).toContain(
        command[1] === 'resize' ? 'DcsSnap1' : `(host ${host},`,
      )

    expect(lunar.ok('EnableNewSnap', 'tank/1', '--disconnect')).toContain('DcsSnap1')
    expect(status().clients.map(({ host }) => host)).toEqual(['db1'])
    lunar.ok('unpresent', 'tank/db', '--disconnect')
    expect(status().clients).toEqual([])
    reads(server.uri('web1', 'image'), 0)
    for (const holder of holders) await holder.close()
    expect(lunar.ok('pool', 'export', 'tank')).toContain('Exported')
    expect(await server.ended).toBe(0)
  })

  test('a write-once device tells a second write and a read of nothing apart', async () => {
    makeTank()
    lunar.ok('wod', 'create', 'tank/once', '--on', 'lun', '--size', '1MiB')
    lunar.ok('present', 'tank/once', '--host', 'db1')
    const server = await serve(lunar, ['tank', ...socketsOf('db1')], 2)
    const script = [
      'import errno',
      'size = 65536',
      'def refused(what):',
      '    try: what()',
      '    except nbd.Error as error: print(errno.errorcode[error.errnum])',
      'refused(lambda: h.pread(size, 0))',
      'h.pwrite(b"a" * size, 0)',
      'h.pwrite(b"a" * size, 0)',
      'refused(lambda: h.pwrite(b"b" * size, 0))',
      'print(h.pread(size, 0) == b"a" * size)',
      'h.block_status(4 * size, 0, lambda name, offset, extents, error: print(name, list(extents)) if name == "lunar:written" else 0)',
    ]
    const out = clientOk('nbdsh', '-c', 'h.add_meta_context("lunar:written")', '-c', `h.connect_uri("${server.uri('db1', 'once')}")`, '-c', script.join('\n'))
    expect(out.trim().split('\n')).toEqual(['EOVERFLOW', 'EOVERFLOW', 'True', 'lunar:written [65536, 1, 196608, 0]'])
    await server.kill('SIGTERM')
  })

  test('TLS: the certificate names the host; who has none is told nothing', async () => {
    makeTank()
    makeCertificates(['db1', 'web1', 'nobody'])
    const server = await serve(lunar, ['tank', ...socketsOf('db1', 'web1'), '--tcp', '127.0.0.1:0', '--tls-dir', lunar.path('tls')], 3)
    const uri = (host: string, name: string): string => `${server.uri('by certificate', name)}?tls-certificates=${lunar.path(`tls-${host}`)}`
    expect(names(uri('db1', ''))).toEqual(['tank/db'])
    write(server.uri('db1', 'db'), 7)
    expect(
      clientOk(
        'nbdsh',
        '-c',
        'h.set_uri_allow_local_file(True)',
        '-c',
        `h.connect_uri("${uri('db1', 'db')}")`,
        '-c',
        'print(h.pread(2, 0), h.get_tls_negotiated())',
      ).trim(),
    ).toBe(String.raw`bytearray(b'\x07\x07') True`)
    for (const [host, name] of [
      ['web1', 'db'],
      ['nobody', 'db'],
    ] as const)
      expect(client('nbdinfo', uri(host, name)).status).not.toBe(0)
    expect(client('nbdinfo', '--list', '--json', uri('nobody', '')).stdout).not.toContain('db')
    const plain = server.uri('by certificate', 'db').replace('nbds:', 'nbd:')
    expect(client('nbdinfo', plain).status).not.toBe(0)
    expect(client('nbdinfo', '--list', plain).stdout).not.toContain('db')
    await server.kill('SIGTERM')
  })

  test('without TLS a port needs to be told whom everybody is taken for', async () => {
    makeTank()
    lunar.refused('ERR_USAGE', 'serve', 'tank', '--tcp', '127.0.0.1:0')
    const api = ['serve', 'tank', '--api-listen', '127.0.0.1:0', '--api-token-file', lunar.write('tokens', Buffer.from(`ops ${'x'.repeat(32)}\n`))]
    expect(lunar.refused('ERR_USAGE', ...api)).toContain('--api-insecure')
    expect(lunar.refused('ERR_USAGE', ...api, '--api-insecure')).toContain('chmod 600') // as it was written, others can read it
    const server = await serve(lunar, ['tank', '--tcp', '127.0.0.1:0', '--insecure-tcp', 'db1'], 2)
    const tcp = status().listeners.find(({ transport }) => transport === 'tcp')!
    expect(server.log()).toContain('warning: whoever reaches the port is taken for host db1')
    expect(names(tcp.uri.replace('EXPORT', ''))).toEqual(['tank/db'])
    await server.kill('SIGTERM')
  })

  function makeCertificates(hosts: readonly string[]): void {
    const sh = (line: string): string => clientOk('sh', '-ec', line)
    const tls = lunar.path('tls')
    mkdirSync(tls)
    sh(`cd ${tls} && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca-key.pem -out ca-cert.pem 2>/dev/null`)
    const sign = (folder: string, what: string, name: string): string =>
      sh(
        `cd ${folder} && openssl req -newkey rsa:2048 -nodes -subj /CN=${name} -addext subjectAltName=IP:127.0.0.1 -keyout ${what}-key.pem -out r.pem 2>/dev/null &&` +
          ` openssl x509 -req -in r.pem -CA ${tls}/ca-cert.pem -CAkey ${tls}/ca-key.pem -days 2 -copy_extensions copy -out ${what}-cert.pem 2>/dev/null && cp -n ${tls}/ca-cert.pem .`,
      )
    sign(tls, 'server', 'localhost')
    for (const host of hosts) {
      mkdirSync(lunar.path(`tls-${host}`))
      sign(lunar.path(`tls-${host}`), 'client', host)
    }
  }

  test('an owner in the background leaves for the server, which goes on with its work; a second server is refused', async () => {
    makeTank()
    lunar.ok('lun', 'create', 'tank/image', '--size', '16MiB', '--raid', 'raid0')
    lunar.ok('lun', 'write', 'tank/db', lunar.write('all', stamped(16 * MIB, 5)))
    lunar.ok('snap', 'configure', 'tank/db', 'image')
    lunar.ok('EnableSnap', 'tank/1')
    lunar.ok('SetCompleteImageDelay', '1000', 'tank/1')
    lunar.ok('StartCompleteImage', 'tank/1')
    expect(lunar.json<LockView>('lock', 'show', 'tank').holder?.kind).toBe('on-demand')
    const server = await serve(lunar, ['tank', ...socketsOf('db1', 'web1')], 2)
    expect(lunar.json<LockView>('lock', 'show', 'tank').holder).toMatchObject({ kind: 'server', pid: server.child.pid })
    expect(lunar.json<TaskView[]>('task', 'list', '--pool', 'tank').filter(({ state }) => state === 'running')).toHaveLength(1)
    expect(lunar.refused('ERR_LOCKED', 'serve', 'tank')).toContain(String(server.child.pid))
    lunar.ok('StopCompleteImage', 'tank/1')
    expect(lunar.ok('server', 'stop', 'tank', '--dry-run')).toContain('Would stop')
    expect(lunar.ok('server', 'stop', 'tank')).toContain(`process ${server.child.pid}`)
    expect(await server.ended).toBe(0)
    lunar.refused('ERR_SERVER_UNREACHABLE', 'server', 'stop', 'tank')
  })

  test('every pool that can be served is, and status says why another is not', async () => {
    makeTank()
    lunar.ok('pool', 'create', 'other', 'o0.img', 'o1.img', '--size', '64MiB')
    lunar.ok('lun', 'create', 'other/db', '--size', '4MiB', '--raid', 'raid1')
    lunar.ok('host', 'add', 'other/db1')
    lunar.ok('present', 'other/db', '--host', 'db1')
    const server = await serve(lunar, ['tank', 'other', 'nowhere', '--tcp', '127.0.0.1:0', '--insecure-tcp', 'db1'], 0)
    const { pools, listeners } = status()
    expect(pools.map(({ name, problem }) => [name, problem?.slice(0, 18) ?? null]).sort()).toEqual([
      ['nowhere', 'ERR_POOL_NOT_FOUND'],
      ['other', null],
      ['tank', null],
    ])
    const tcp = listeners.find(({ transport }) => transport === 'tcp')!.uri
    expect(names(tcp.replace('EXPORT', ''))).toEqual(['other/db', 'tank/db'])
    expect(client('nbdinfo', tcp.replace('EXPORT', 'db')).status, 'two pools have one of this name').not.toBe(0)
    expect(clientOk('nbdinfo', '--size', tcp.replace('EXPORT', 'other/db')).trim()).toBe(String(4 * MIB))
    expect(lunar.ok('pool', 'export', 'other')).toContain('Exported')
    expect(names(tcp.replace('EXPORT', ''))).toEqual(['tank/db'])
    expect(await server.kill('SIGTERM')).toBe(0)
  })

  test('systemd: takes its sockets, and tells when it is ready and when it stops', async () => {
    makeTank()
    // What systemd does: makes the socket, passes it as descriptor 3, and listens on a datagram socket.
    const script = `
import os, socket, sys
sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
sock.bind(sys.argv[1]); sock.listen(10)
told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
told.bind(sys.argv[2])
pid = os.fork()
if pid == 0:
    os.dup2(sock.fileno(), 3); os.set_inheritable(3, True)
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='db1', NOTIFY_SOCKET=sys.argv[2])
    os.execv(sys.argv[3], sys.argv[3:])
print(pid, flush=True)
while True:
    text = told.recv(4096).decode()
    print(text.split()[0], flush=True)
    if 'STOPPING' in text: break
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
`
    const child = spawn(
      'python3',
      ['-c', script, lunar.path('a.sock'), lunar.path('n.sock'), process.execPath, 'bin/lunar.cjs', 'serve', 'tank', ...socketsOf('web1', 'db1')],
      {
        env: lunar.env,
      },
    )
    lunar.children.push(child)
    const lines = child.stdout.setEncoding('utf8')[Symbol.asyncIterator]()
    let text = ''
    const until = async (pattern: RegExp): Promise<RegExpExecArray> => {
      for (;;) {
        const found = pattern.exec(text)
        if (found) return found
        const next = await lines.next()
        if (next.done) throw new Error(`python ended: ${text}`)
        text += String(next.value)
      }
    }
    const pid = Number((await until(/^(\d+)$/m))[1])
    await until(/READY=1/)
    expect(names(`nbd+unix:///?socket=${lunar.path('a.sock')}`)).toEqual(['tank/db'])
    process.kill(pid, 'SIGTERM')
    await until(/STOPPING=1\n0\n/)
    expect(lunar.json<LunDetail>('lun', 'show', 'tank/db').state).toContain('ready')
  })
})

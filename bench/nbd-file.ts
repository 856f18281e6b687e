/** Child of the NBD rows: serves a plain file on a unix socket, without a pool: node nbd-file.mjs SOCKET FILE. Ends at SIGTERM. */
import { FileDisk } from '../src/core/block/file.ts'
import { listenUnix } from '../src/core/nbd/listen.ts'
import { NbdServer } from '../src/core/nbd/server.ts'

const [, , socket, file] = process.argv
const disk = await FileDisk.open(file!)
const open = (name: string) => ({ name, description: file!, device: disk, readOnly: false, contexts: [], zeroIsFast: true, release: () => Promise.resolve() })
const server = new NbdServer({ list: () => Promise.resolve([{ name: '', description: file! }]), open: name => Promise.resolve(open(name)) })
const listener = await listenUnix(server, socket!, null)
process.once('SIGTERM', () => {
  void listener
    .close()
    .then(() => server.close())
    .then(() => disk.close())
})

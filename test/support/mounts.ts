/** Exports as loop devices (nbdfuse, losetup) and what is mounted on them; all of it is taken away again. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, statSync, writeFileSync } from 'node:fs'
import { client, clientOk } from './server.ts'

interface Attached {
  readonly file: string
  readonly fuse: ChildProcess
}

export class Mounts {
  private readonly devices = new Map<string, Attached>()
  private readonly folders: string[] = []

  /** @returns the loop device over the export */
  async attach(uri: string, folder: string): Promise<string> {
    mkdirSync(folder)
    const file = `${folder}/nbd`
    writeFileSync(file, '')
    const pidFile = `${folder}.pid`
    const fuse = spawn('nbdfuse', ['-P', pidFile, file, uri], { stdio: ['ignore', 'ignore', 'pipe'] })
    let error = ''
    fuse.stderr.on('data', (chunk: Buffer) => {
      error += chunk.toString()
    })
    // It writes its pid when it serves; nothing tells that to others.
    while (statSync(file).size === 0) {
      if (fuse.exitCode !== null) throw new Error(`nbdfuse ended: ${error}`)
      await new Promise(resolve => setTimeout(resolve, 20))
    }
    const device = clientOk('losetup', '-f', '--show', file).trim()
    this.devices.set(device, { file, fuse })
    return device
  }

  async detach(device: string): Promise<void> {
    const { fuse } = this.release(device)
    if (fuse.exitCode === null && fuse.signalCode === null) await once(fuse, 'exit')
  }

  mount(device: string, folder: string, ...options: string[]): void {
    clientOk('mount', ...options, device, folder)
    this.folders.push(folder)
  }

  unmount(folder: string): void {
    clientOk('umount', folder)
    this.folders.splice(this.folders.indexOf(folder), 1)
  }

  /** After a test that failed in the middle: tells nothing, takes away what there is. */
  closeAll(): void {
    for (const folder of this.folders.splice(0).reverse()) client('umount', '-l', folder)
    for (const device of [...this.devices.keys()]) this.release(device)
  }

  private release(device: string): Attached {
    const attached = this.devices.get(device)!
    this.devices.delete(device)
    client('losetup', '-d', device)
    client('umount', attached.file)
    return attached
  }
}

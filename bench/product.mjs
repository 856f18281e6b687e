/** The program under test, with a state folder and pools of its own. */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { root } from '../scripts/setup.mjs'
import { run } from './harness.mjs'

const launcher = join(root, 'bin', 'lunar.cjs')

export class Product {
  /** @param {string} folder the pool's images and the state folder go there */
  constructor(folder) {
    this.folder = folder
    const { LUNAR_POOL: _pool, ...env } = process.env
    this.env = { ...env, LUNAR_HOME: join(folder, 'home'), NO_COLOR: '1' }
  }

  /** Runs one command. @returns its stdout */
  lunar(...args) {
    return run(process.execPath, [launcher, ...args], { cwd: this.folder, env: this.env })
  }

  /** Makes a pool of sparse images, in the place of the one of that name. */
  freshPool(name, disks, size) {
    this.destroy(name)
    const paths = Array.from({ length: disks }, (_, i) => join(this.folder, `${name}${i + 1}.img`))
    this.lunar('pool', 'create', name, ...paths, '--size', size)
    this.paths = paths
  }

  /** Ends the pool made last, if it is there, and removes its images. */
  destroy(name) {
    if (!this.paths) return
    this.lunar('pool', 'destroy', name, '--yes')
    for (const path of this.paths) rmSync(path, { force: true })
    this.paths = undefined
  }
}

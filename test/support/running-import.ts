/** An import from a pipe that a test holds open, so that other things happen in the middle of it. */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { expect } from 'vitest'
import type { Program } from './program.ts'

export class RunningImport {
  readonly child: ChildProcess
  private readonly lines: string[] = []
  private readonly closed: Promise<unknown>
  private wake: () => void = () => undefined

  constructor(lunar: Program, lun: string, ...more: string[]) {
    this.child = lunar.start(['lun', 'import', lun, '-', '--progress=json', '--yes', ...more])
    this.child.stdin!.on('error', () => undefined) // it may have ended: its status tells
    this.closed = once(this.child, 'close').then(() => {
      this.wake()
    })
    createInterface({ input: this.child.stderr! }).on('line', line => {
      this.lines.push(line)
      this.wake()
    })
  }

  write(bytes: Uint8Array): void {
    this.child.stdin!.write(bytes)
  }

  end(bytes: Uint8Array = new Uint8Array()): void {
    this.child.stdin!.end(bytes)
  }

  /** Resolves when its progress says that some data has arrived. */
  async begun(): Promise<void> {
    while (!this.lines.some(line => line.startsWith('{'))) {
      expect(this.child.exitCode, this.lines.join('\n')).toBeNull()
      await new Promise<void>(resolve => (this.wake = resolve))
    }
  }

  async ended(): Promise<{ status: number | null; stderr: string }> {
    await this.closed
    return { status: this.child.exitCode, stderr: this.lines.filter(line => !line.startsWith('{')).join('\n') }
  }
}

/** A sign of life on terminals for calls that may take a while. Ora takes 70 ms to load: only when a call is slow. */
import { isFancy, type Surroundings } from './surroundings.ts'

const PATIENCE_MS = 400

/** Settles as `work` does. */
export async function withSpinner<T>(around: Surroundings, quiet: boolean, text: string, work: Promise<T>): Promise<T> {
  if (quiet || !isFancy(around.stderr, around.env)) return work
  let stop: (() => void) | undefined
  let over = false
  const timer = setTimeout(() => {
    void import('ora').then(({ default: ora }) => {
      if (over) return
      const spinner = ora({ text, stream: around.stderr as NodeJS.WriteStream, discardStdin: false }).start()
      stop = () => spinner.stop()
    })
  }, PATIENCE_MS)
  try {
    return await work
  } finally {
    over = true
    clearTimeout(timer)
    stop?.()
  }
}

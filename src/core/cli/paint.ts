/** Colour, for terminals only. Chalk is loaded only when there is something to colour. */
import { isFancy, type OutputStream, type Surroundings } from './surroundings.ts'

export interface Paint {
  bold(text: string): string
  dim(text: string): string
  good(text: string): string
  warn(text: string): string
  bad(text: string): string
}

const same = (text: string): string => text
export const plainPaint: Paint = { bold: same, dim: same, good: same, warn: same, bad: same }

export async function paintFor(stream: OutputStream, env: Surroundings['env']): Promise<Paint> {
  if (!isFancy(stream, env)) return plainPaint
  const { Chalk } = await import('chalk')
  const chalk = new Chalk({ level: 1 })
  return { bold: chalk.bold, dim: chalk.dim, good: chalk.green, warn: chalk.yellow, bad: chalk.red }
}

const words: Record<string, keyof Paint> = {
  healthy: 'good',
  normal: 'good',
  done: 'good',
  enabled: 'good',
  degraded: 'warn',
  merging: 'warn',
  missing: 'warn',
  waiting: 'warn',
  incomplete: 'warn',
  mixed: 'warn',
  critical: 'bad',
  failed: 'bad',
  lost: 'bad',
  invalid: 'bad',
}

/** Paints each word of a state (`ready, degraded`) by what it means; others stay as they are. */
export function paintState(paint: Paint, state: string): string {
  return state
    .split(', ')
    .map(word => {
      const colour = Object.hasOwn(words, word) ? words[word] : undefined
      return colour ? paint[colour](word) : word
    })
    .join(', ')
}

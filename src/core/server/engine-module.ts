import type { EngineModule } from './engine-types.ts'

let chosen: EngineModule | undefined

/** The engine, loaded when first needed. */
export async function engineModule(): Promise<EngineModule> {
  return (chosen ??= await import('./engine.ts'))
}

/** Puts another engine in its place; for tests. */
export function useEngine(engine: EngineModule | undefined): void {
  chosen = engine
}

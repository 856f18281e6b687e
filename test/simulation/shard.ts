import type { Bounds } from './simulate.ts'

/** What a seed costs: some 1,200 states, a minute on a slow machine. */
export const shardBounds: Bounds = { lives: 2, operations: 40, cuts: 150, states: 4, deep: 0.05, more: 0.01 }

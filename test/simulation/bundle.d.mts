import type { Plugin } from 'esbuild'

/** @returns the path of the program, called `name` */
export function bundleSimulation(tree: string, into: string, options?: { name?: string; plugins?: readonly Plugin[] }): Promise<string>

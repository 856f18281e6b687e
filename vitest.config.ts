import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Commands write to the real stdout and stderr; vitest must not take them away.
    disableConsoleIntercept: true,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    pool: 'forks',
    // Three files at once also where there are just two cores: a file that waits for a process or a disk leaves a core to the others.
    maxWorkers: 3,
    // Simulated disks make much garbage that is short-lived, and every core is busy: collecting it seldom and alone halves what it costs.
    execArgv: ['--max-semi-space-size=64', '--single-threaded-gc'],
  },
})

/**
 * Loaded before the program (`node --require`): kills the process with SIGKILL at its n-th call that changes files.
 * LUNAR_KILL_AT=n; by n modulo 3 the call is not made, is under way, or has ended and nobody knows. LUNAR_KILL_WITH=SIGINT sends
 * another signal, and the process goes on. LUNAR_KILL_COUNT=FILE: nobody is killed, the number of calls is written there.
 */
const fs = require('node:fs')

const killAt = Number(process.env.LUNAR_KILL_AT ?? 0)
const { writeFileSync } = fs
let calls = 0
const signal = process.env.LUNAR_KILL_WITH ?? 'SIGKILL'
const die = () => process.kill(process.pid, signal)

function wrap(name) {
  const real = fs[name]
  fs[name] = (...args) => {
    calls++
    if (calls !== killAt) return real.apply(fs, args)
    if (signal !== 'SIGKILL') {
      die()
      return real.apply(fs, args)
    }
    if (killAt % 3 === 0) die()
    if (killAt % 3 === 1 && typeof args.at(-1) === 'function') {
      args.pop()
      return real.call(fs, ...args, die)
    }
    const result = real.apply(fs, args)
    die()
    return result
  }
}

for (const name of ['write', 'writev', 'fdatasync', 'ftruncate', 'renameSync', 'fsyncSync', 'writeSync']) wrap(name)

if (process.env.LUNAR_KILL_COUNT) process.on('exit', () => writeFileSync(process.env.LUNAR_KILL_COUNT, String(calls)))

/** Loaded before the program (`node --require`): its wall clock is LUNAR_CLOCK_SHIFT milliseconds ahead of that of the machine. */
const shift = Number(process.env.LUNAR_CLOCK_SHIFT ?? 0)
const { now } = Date

globalThis.Date = class extends Date {
  constructor(...args) {
    if (args.length === 0) super(now() + shift)
    else super(...args)
  }
  static now() {
    return now() + shift
  }
}

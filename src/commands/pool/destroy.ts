import { LunarCommand } from '../../core/cli/base-command.ts'
import type { Result } from '../../core/server/api.ts'
import { dryRunFlag, forceFlag, neededArg, yesFlag } from '../../core/cli/flags.ts'

export default class PoolDestroy extends LunarCommand {
  static override summary = 'Destroy a pool and everything in it'
  static override examples = ['lunar pool destroy tank --dry-run', 'lunar pool destroy tank --yes']
  static override args = { pool: neededArg('the pool') }
  static override flags = {
    ...forceFlag(['missing-disks'], 'although disks are missing or the pool cannot be opened; disks that are away keep their labels'),
    ...yesFlag(),
    ...dryRunFlag(),
  }

  override async run(): Promise<Result<'pool.destroy'>> {
    const { args, flags } = await this.parse(PoolDestroy)
    const front = await this.around.front()
    const params = { name: args.pool, force: flags.force?.includes('missing-disks') ?? false, command: this.typed, signal: this.signal }
    if (!flags['dry-run'] && !flags.yes) {
      const { data } = await front.destroyPool({ ...params, dryRun: true })
      await this.consentByName(
        false,
        `Destroy pool "${data.name}" on ${data.disks.length} disks with ${data.luns.length === 0 ? 'no LUNs' : `LUNs ${data.luns.join(', ')}`}${data.files.length === 0 ? '' : `, and delete ${data.files.join(', ')}`}`,
        data.name,
      )
    }
    const reply = await this.waitFor('destroying the pool', front.destroyPool({ ...params, dryRun: flags['dry-run'] }))
    return this.say(
      reply,
      done =>
        `${flags['dry-run'] ? 'Would destroy' : 'Destroyed'} pool "${done.name}": ${done.disks.length} disks, LUNs: ${done.luns.join(', ') || 'none'}${done.files.length === 0 ? '' : `, files of write-once devices: ${done.files.join(', ')}`}`,
    )
  }
}

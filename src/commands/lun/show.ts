import * as Flags from '@oclif/core/flags'
import { LunarError } from '../../core/base/errors.ts'
import { LunarCommand } from '../../core/cli/base-command.ts'
import { bytesFlag, numberFlag, optionalArg, poolFlag } from '../../core/cli/flags.ts'
import { parseReference } from '../../core/cli/references.ts'
import { usageError } from '../../core/cli/translate.ts'
import { volumeView, type VolumeDetail } from '../../core/cli/views/lun.ts'
import type { PoolService } from '../../core/server/api.ts'
import { findLun, formatVolumeId, parseVolumeId, readPartition, type VolumeId } from '../../core/server/volume-id.ts'

export default class LunShow extends LunarCommand {
  static override summary = 'Show one LUN: size, space by disk, settings, layers, volume id'
  static override description = 'A volume id is the UUID of the LUN, or UUID/pN for the Nth entry of the partition table that is in it.'
  static override examples = [
    'lunar lun show tank/db',
    'lunar lun show db --pool tank --json',
    'lunar lun show --pool tank --volume-id "$(lunar lun list --pool tank -H -o volume-id | head -1)"',
  ]
  static override args = { lun: optionalArg('the LUN; with --volume-id left out') }
  static override flags = {
    'volume-id': Flags.string({ description: 'show the LUN, and the partition, that has this id', helpValue: 'ID' }),
    partition: numberFlag('show a partition of the LUN too, and its volume id; 0 is the whole LUN'),
    ...poolFlag(),
    ...bytesFlag(),
  }

  override async run(): Promise<VolumeDetail> {
    const { args, flags } = await this.parse(LunShow)
    const { 'volume-id': id, partition: number } = flags
    if ((args.lun === undefined) === (id === undefined)) throw usageError('Cannot tell which LUN to show', 'give either a LUN or --volume-id', this.name)
    if (id !== undefined && number !== undefined) throw usageError('Cannot use --partition with --volume-id', 'the id says which partition is meant', this.name)
    const named = args.lun === undefined ? undefined : parseReference(args.lun, flags.pool, 'lun')
    const wanted = id === undefined ? { lun: '', partition: number ?? 0 } : parseVolumeId(id)
    const { partition } = wanted
    await using service = await this.open(named?.pool ?? flags.pool, partition === 0 ? 'view' : 'owner') // what is inside of a LUN is user data
    const lun = named?.name ?? (await this.nameOf(service, wanted))
    const shown = await this.waitFor('reading the LUN', service.call('lun.show', { lun }, this.signal))
    const data = { ...shown.data, volumeId: formatVolumeId({ lun: shown.data.id, partition }), partition: await readPartition(service, lun, partition) }
    return await this.details({ ...shown, data }, volumeView, flags.bytes)
  }

  private async nameOf(service: PoolService, id: VolumeId): Promise<string> {
    const lun = await findLun(service, id, this.signal)
    if (!lun) throw new LunarError('ERR_LUN_NOT_FOUND', `Cannot find volume ${formatVolumeId(id)}`, { why: `pool "${service.pool}" has none of this id` })
    return lun.name
  }
}

/** What commands show of write-once devices. */
import { isoTime } from '../base/clock.ts'
import { LunarError } from '../base/errors.ts'
import type { Luns } from '../lun/luns.ts'
import { onLun, type Wod, type Wods } from '../wod/wods.ts'
import type { WodDetail, WodSummary } from './api.ts'
import type { Views } from './views.ts'

export class WodViews {
  constructor(
    private readonly luns: Luns,
    private readonly wods: Wods,
    private readonly views: Views,
  ) {}

  async summary(wod: Wod): Promise<WodSummary> {
    const { record } = wod
    return {
      number: wod.number,
      name: wod.name,
      on: wod.kind,
      size: record.size,
      blockBytes: wod.blockBytes,
      written: (await this.wods.countWritten(wod)) * wod.blockBytes,
      imageOf: wod.isConfigured ? (this.luns.byId(record.source)?.name ?? null) : null,
      presentedTo: this.views.presentedTo('wod', wod.number),
      created: isoTime(record.createdMs),
    }
  }

  async detail(wod: Wod, dryRun = false): Promise<WodDetail> {
    const { record } = wod
    const lun = onLun(wod.kind) ? this.luns.byId(record.lun) : undefined
    return {
      ...(await this.summary(wod)),
      id: record.wodId,
      path: record.path === '' ? null : record.path,
      raid: lun?.types[0] ?? null,
      used: lun ? await this.views.used(lun) : null,
      state: dryRun ? 'ready' : await this.state(wod),
      emptied: isoTime(record.emptiedMs),
      relationship: wod.isConfigured ? record.relationship : null,
    }
  }

  /** Opens what it lies on, so that a missing file is told before a write meets it. */
  private async state(wod: Wod): Promise<string> {
    try {
      await wod.device()
      return 'ready'
    } catch (error) {
      if (error instanceof LunarError) return `${error.message}: ${error.why}`
      throw error
    }
  }
}

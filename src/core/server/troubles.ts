import { LunarError } from '../base/errors.ts'
import { formatSize } from '../base/units.ts'
import type { Relationships } from '../snapshot/relationships.ts'
import type { Trees } from '../snapshot/tree/trees.ts'
import type { WodImages } from '../snapshot/wod-images.ts'
import type { Wods } from '../wod/wods.ts'
import type { PoolStatus, RelationshipTrouble } from './api.ts'
import type { Schedules } from './schedule/schedules.ts'

export type FoundTroubles = Pick<PoolStatus, 'relationships' | 'devices' | 'droppedSnapshots' | 'schedules'> & {
  /** Names of schedules that nobody runs. */
  readonly unserved: string[]
}

/** What of relationships and write-once devices needs somebody, for the status of a pool. */
export class Troubles {
  constructor(
    private readonly relationships: Relationships,
    private readonly wods: Wods,
    private readonly wodImages: WodImages,
    private readonly trees: Trees,
    private readonly schedules: Schedules,
    /** Somebody runs schedules. */
    private readonly areServed: () => boolean,
  ) {}

  async find(): Promise<FoundTroubles> {
    const found: RelationshipTrouble[] = []
    for (const relationship of this.relationships.all) {
      const { isInvalid, isMixed, isEnabled, record, number } = relationship
      const lost = isEnabled || isInvalid ? 0 : (await this.relationships.lostRanges(relationship)).reduce((sum, { length }) => sum + length, 0)
      if (!isInvalid && !isMixed && lost === 0) continue
      found.push({
        number,
        source: this.relationships.source(relationship).name,
        image: this.relationships.image(relationship).name,
        trouble: isInvalid ? 'invalid' : isMixed ? 'mixed' : 'lost',
        lost,
        reason: record.reason === '' ? null : record.reason,
      })
    }
    for (const image of this.wodImages.all) {
      const { wod, number } = image
      if (!wod.isInvalid && !wod.isMixed) continue
      const trouble = wod.isInvalid ? 'invalid' : 'mixed'
      found.push({ number, source: this.wodImages.source(image).name, image: wod.name, trouble, lost: 0, reason: wod.record.reason })
    }
    return { relationships: found.sort((a, b) => a.number - b.number), devices: await this.devices(), droppedSnapshots: this.dropped(), ...this.scheduled() }
  }

  private scheduled(): Pick<FoundTroubles, 'schedules' | 'unserved'> {
    const { all } = this.schedules
    return {
      schedules: all.filter(({ record }) => record.failures > 0).map(({ name, record }) => ({ name, problem: record.reason })),
      unserved: this.areServed() ? [] : all.filter(({ isPaused }) => !isPaused).map(({ name }) => name),
    }
  }

  private dropped(): string[] {
    return this.trees
      .list()
      .filter(({ isDropped }) => isDropped)
      .map(({ name }) => name)
  }

  private async devices(): Promise<FoundTroubles['devices']> {
    const found = []
    for (const wod of this.wods.all) {
      try {
        await this.wods.checkFile(wod)
      } catch (error) {
        if (!(error instanceof LunarError) || error.code === 'ERR_BUG') throw error
        found.push({ name: wod.name, problem: `${error.message}${error.why === '' ? '' : `: ${error.why}`}` })
      }
    }
    return found
  }
}

/** Volumes that refuse their users are trouble of the pool; that a disabled image is behind its source was somebody's choice. */
export const areDegraded = ({ relationships, devices, droppedSnapshots, schedules }: FoundTroubles): boolean =>
  devices.length > 0 || droppedSnapshots.length > 0 || schedules.length > 0 || relationships.some(({ trouble }) => trouble !== 'lost')

export function troubleMessages({ relationships, devices, droppedSnapshots, schedules, unserved }: FoundTroubles, pool: string): string[] {
  const help = {
    mixed: (number: number) => `start the update again (lunar GetSnapStatus ${number})`,
    invalid: (number: number) => `lunar EnableNewSnap ${number}`,
    lost: (number: number) => `lunar EnableNewSnap ${number}, or lunar EnableSnap ${number} --force=lost-part`,
  }
  return [
    ...relationships.map(({ number, source, image, trouble, lost, reason }) => {
      const what = trouble === 'lost' ? `has lost ${formatSize(lost)}, written in its source while it was disabled` : `is ${trouble}: ${reason ?? 'unknown'}`
      return `DcsSnap${number} (${source} to ${image}) ${what}: ${help[trouble](number)}`
    }),
    ...droppedSnapshots.map(name => `Snapshot ${name} was dropped, since there was no space for a chunk it needed: lunar snap delete ${name}`),
    ...schedules.map(({ name, problem }) => `Schedule ${name} did not go well: ${problem}: ${scheduleHelp(name, problem)}`),
    ...(unserved.length > 0 ? [`Nobody runs schedule ${unserved.join(', ')}, since the pool has no server: lunar serve ${pool}`] : []),
    ...devices.map(({ name, problem }) => `Write-once device ${name} cannot be used: ${problem}`),
  ]
}

function scheduleHelp(name: string, problem: string): string {
  if (problem.startsWith('ERR_CLOCK')) return `lunar snap schedule run ${name} --force=clock, if the clock is right`
  if (problem.startsWith('ERR_TOO_MANY')) return `lunar snap schedule run ${name} --force=many, if that is meant`
  return `lunar snap schedule show ${name}`
}

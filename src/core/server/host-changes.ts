/** The verbs on hosts and on what is presented to them. */
import { isoTime } from '../base/clock.ts'
import type { HostDetail, HostSummary, Params, PresentationView, Result } from './api.ts'
import type { EngineParts } from './engine.ts'
import type { Host, Hosts, Presentation } from './hosts.ts'
import { hostSettings } from './settings-views.ts'
import type { Volume } from './volumes.ts'

const summaryOf = (hosts: Hosts, host: Host): HostSummary => ({
  number: host.number,
  name: host.name,
  id: host.record.hostId,
  volumes: hosts.presentedTo(host).length,
  created: isoTime(host.record.createdMs),
})

export const presentationView = (presentation: Presentation, volume: Volume): PresentationView => ({
  volume: volume.name,
  kind: presentation.kind,
  host: presentation.host.name,
  readOnly: presentation.isReadOnly,
  shared: presentation.isShared,
  size: volume.size,
  since: isoTime(presentation.record.createdMs),
})

export const hostLooks = {
  'host.list': ({ hosts }: EngineParts): HostSummary[] => hosts.all.map(host => summaryOf(hosts, host)),

  'host.show': ({ hosts, qualities }: EngineParts, { host: name }: Params<'host.show'>): HostDetail => {
    const host = hosts.find(name)
    const presentations = hosts.presentedTo(host).map(({ presentation, volume }) => presentationView(presentation, volume))
    return { ...summaryOf(hosts, host), settings: hostSettings(host.record), held: qualities.heldOfHost(host), presentations }
  },
}

export const hostChanges = {
  'host.add': async ({ hosts }: EngineParts, { host, dryRun }: Params<'host.add'>): Promise<Result<'host.add'>> =>
    summaryOf(hosts, await hosts.add(host, dryRun === true)),

  'host.remove': async ({ hosts }: EngineParts, { host: name, dryRun }: Params<'host.remove'>): Promise<Result<'host.remove'>> => {
    await hosts.remove(hosts.find(name), dryRun === true)
    return { name }
  },

  'volume.present': async ({ hosts, volumes }: EngineParts, params: Params<'volume.present'>): Promise<Result<'volume.present'>> => {
    const volume = volumes.find(params.volume)
    const { presentation, changed } = await hosts.present(volume, hosts.find(params.host), {
      readOnly: params.readOnly === true,
      shared: params.shared === true,
      mixed: params.forceMixed === true,
      dryRun: params.dryRun === true,
    })
    return { ...presentationView(presentation, volume), changed }
  },

  'volume.unpresent': async ({ hosts, volumes }: EngineParts, params: Params<'volume.unpresent'>): Promise<Result<'volume.unpresent'>> => {
    const volume = volumes.find(params.volume)
    const host = params.host === undefined ? undefined : hosts.find(params.host)
    const names = await hosts.unpresent(volume, host, params.dryRun === true)
    return { volume: volume.name, hosts: names, changed: names.length > 0 }
  },
}

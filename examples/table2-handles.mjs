/** Drives a relationship with the functions of Table 2: node table2-handles.mjs POOL RELATIONSHIP */
import {
  DcsPITDeviceCloseHandle,
  DcsPITDeviceCreateHandle,
  DcsPITDeviceDelayImageCompletion,
  DcsPITDeviceEnable,
  DcsPITDeviceGetActiveMaps,
  DcsPITDeviceGetStatus,
  DcsPITDeviceStartImageCompletion,
  DcsPMGenerateVolumeID,
  DcsPMListVolumes,
  DcsPMTranslateVolumeID,
  isCode,
  openPool,
} from 'lunar'

const [name, reference = '1'] = process.argv.slice(2)

const pool = await openPool(name)
try {
  const handle = await DcsPITDeviceCreateHandle(pool, reference)
  try {
    const { asOf } = await DcsPITDeviceEnable(handle, { fresh: true })
    console.log(`enabled as of ${asOf}`)
    const { was } = await DcsPITDeviceDelayImageCompletion(handle, 0)
    const task = await DcsPITDeviceStartImageCompletion(handle, { wait: true })
    console.log(`complete image ${task?.state ?? 'had nothing to do'}; its delay was ${was} ms`)
    const { completePercent, differentPercent } = await DcsPITDeviceGetStatus(handle)
    const { chunks, chunkBlocks } = await DcsPITDeviceGetActiveMaps(handle)
    console.log(`${completePercent} % complete, ${differentPercent} % different, ${chunks} chunks of ${chunkBlocks} blocks`)

    // Nobody can take the relationship away while the handle is open.
    await pool.relationship(reference).disable()
    await pool.relationships.unconfigure(reference).catch(error => {
      if (!isCode(error, 'ERR_BUSY')) throw error
      console.log(`held: ${error.why}`)
    })
  } finally {
    await DcsPITDeviceCloseHandle(handle)
  }

  for (const id of await DcsPMListVolumes()) {
    const { disk, partition } = await DcsPMTranslateVolumeID(id)
    console.log(`volume ${disk}: ${id === (await DcsPMGenerateVolumeID(disk, partition)) ? id : 'translates to another'}`)
  }
} finally {
  await pool.close()
}

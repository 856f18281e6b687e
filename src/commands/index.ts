/** Every command by oclif's id. A test holds that no file of this folder is missing here. */
import DiskAdd from './disk/add.ts'
import DiskLabel from './disk/label.ts'
import DiskList from './disk/list.ts'
import DiskOffline from './disk/offline.ts'
import DiskOnline from './disk/online.ts'
import DiskShow from './disk/show.ts'
import Explain from './explain.ts'
import LockShow from './lock/show.ts'
import LunCreate from './lun/create.ts'
import LunDelete from './lun/delete.ts'
import LunExport from './lun/export.ts'
import LunImport from './lun/import.ts'
import LunList from './lun/list.ts'
import LunMap from './lun/map.ts'
import LunRead from './lun/read.ts'
import LunRename from './lun/rename.ts'
import LunResize from './lun/resize.ts'
import LunShow from './lun/show.ts'
import LunTrim from './lun/trim.ts'
import LunWrite from './lun/write.ts'
import LunZero from './lun/zero.ts'
import MetadataCheck from './metadata/check.ts'
import MetadataDump from './metadata/dump.ts'
import PoolCreate from './pool/create.ts'
import PoolDestroy from './pool/destroy.ts'
import PoolEvents from './pool/events.ts'
import PoolExport from './pool/export.ts'
import PoolImport from './pool/import.ts'
import PoolList from './pool/list.ts'
import PoolSet from './pool/set.ts'
import PoolShow from './pool/show.ts'
import PoolStatus from './pool/status.ts'
import RstoreList from './rstore/list.ts'
import RstoreShow from './rstore/show.ts'
import TaskList from './task/list.ts'
import TaskShow from './task/show.ts'
import TaskWait from './task/wait.ts'
import WodCreate from './wod/create.ts'
import WodDelete from './wod/delete.ts'
import WodList from './wod/list.ts'
import WodReallocate from './wod/reallocate.ts'
import WodShow from './wod/show.ts'

export const commands = {
  'disk:add': DiskAdd,
  'disk:label': DiskLabel,
  'disk:list': DiskList,
  'disk:offline': DiskOffline,
  'disk:online': DiskOnline,
  'disk:show': DiskShow,
  explain: Explain,
  'lock:show': LockShow,
  'lun:create': LunCreate,
  'lun:delete': LunDelete,
  'lun:export': LunExport,
  'lun:import': LunImport,
  'lun:list': LunList,
  'lun:map': LunMap,
  'lun:read': LunRead,
  'lun:rename': LunRename,
  'lun:resize': LunResize,
  'lun:show': LunShow,
  'lun:trim': LunTrim,
  'lun:write': LunWrite,
  'lun:zero': LunZero,
  'metadata:check': MetadataCheck,
  'metadata:dump': MetadataDump,
  'pool:create': PoolCreate,
  'pool:destroy': PoolDestroy,
  'pool:events': PoolEvents,
  'pool:export': PoolExport,
  'pool:import': PoolImport,
  'pool:list': PoolList,
  'pool:set': PoolSet,
  'pool:show': PoolShow,
  'pool:status': PoolStatus,
  'rstore:list': RstoreList,
  'rstore:show': RstoreShow,
  'task:list': TaskList,
  'task:show': TaskShow,
  'task:wait': TaskWait,
  'wod:create': WodCreate,
  'wod:delete': WodDelete,
  'wod:list': WodList,
  'wod:reallocate': WodReallocate,
  'wod:show': WodShow,
}

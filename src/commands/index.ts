/** Every command by oclif's id. A test holds that no file of this folder is missing here. */
import DisableSnap from './DisableSnap.ts'
import DiskAdd from './disk/add.ts'
import DiskLabel from './disk/label.ts'
import DiskList from './disk/list.ts'
import DiskOffline from './disk/offline.ts'
import DiskOnline from './disk/online.ts'
import DiskRemove from './disk/remove.ts'
import DiskReplace from './disk/replace.ts'
import DiskShow from './disk/show.ts'
import EnableNewSnap from './EnableNewSnap.ts'
import EnableSnap from './EnableSnap.ts'
import Explain from './explain.ts'
import GetSnapActiveConfig from './GetSnapActiveConfig.ts'
import GetSnapConfig from './GetSnapConfig.ts'
import GetSnapStatus from './GetSnapStatus.ts'
import HostAdd from './host/add.ts'
import HostList from './host/list.ts'
import HostRemove from './host/remove.ts'
import HostSet from './host/set.ts'
import HostShow from './host/show.ts'
import LockShow from './lock/show.ts'
import LunCreate from './lun/create.ts'
import LunDelete from './lun/delete.ts'
import LunExport from './lun/export.ts'
import LunImport from './lun/import.ts'
import LunList from './lun/list.ts'
import LunMap from './lun/map.ts'
import LunProtect from './lun/protect.ts'
import LunRead from './lun/read.ts'
import LunRename from './lun/rename.ts'
import LunResize from './lun/resize.ts'
import LunSet from './lun/set.ts'
import LunShow from './lun/show.ts'
import LunSwap from './lun/swap.ts'
import LunTrim from './lun/trim.ts'
import LunUnprotect from './lun/unprotect.ts'
import LunWrite from './lun/write.ts'
import LunZero from './lun/zero.ts'
import MetadataCheck from './metadata/check.ts'
import MetadataDump from './metadata/dump.ts'
import Metrics from './metrics.ts'
import PoolCreate from './pool/create.ts'
import PoolDestroy from './pool/destroy.ts'
import PoolEvents from './pool/events.ts'
import PoolExport from './pool/export.ts'
import PoolHistory from './pool/history.ts'
import PoolImport from './pool/import.ts'
import PoolList from './pool/list.ts'
import PoolSet from './pool/set.ts'
import PoolShow from './pool/show.ts'
import PoolStatus from './pool/status.ts'
import Present from './present.ts'
import RstoreList from './rstore/list.ts'
import RstoreRepair from './rstore/repair.ts'
import RstoreShow from './rstore/show.ts'
import RstoreVerify from './rstore/verify.ts'
import Serve from './serve.ts'
import ServerStatus from './server/status.ts'
import ServerStop from './server/stop.ts'
import SetCompleteImageDelay from './SetCompleteImageDelay.ts'
import SetImageUpdateDelay from './SetImageUpdateDelay.ts'
import SetSourceUpdateDelay from './SetSourceUpdateDelay.ts'
import SnapClone from './snap/clone.ts'
import SnapConfigure from './snap/configure.ts'
import SnapCreate from './snap/create.ts'
import SnapDelete from './snap/delete.ts'
import SnapDiff from './snap/diff.ts'
import SnapList from './snap/list.ts'
import SnapMaps from './snap/maps.ts'
import SnapRefresh from './snap/refresh.ts'
import SnapRestore from './snap/restore.ts'
import SnapRotate from './snap/rotate.ts'
import SnapScheduleCreate from './snap/schedule/create.ts'
import SnapScheduleDelete from './snap/schedule/delete.ts'
import SnapScheduleList from './snap/schedule/list.ts'
import SnapSchedulePause from './snap/schedule/pause.ts'
import SnapScheduleResume from './snap/schedule/resume.ts'
import SnapScheduleRun from './snap/schedule/run.ts'
import SnapScheduleShow from './snap/schedule/show.ts'
import SnapShow from './snap/show.ts'
import SnapTree from './snap/tree.ts'
import SnapUnconfigure from './snap/unconfigure.ts'
import StartCompleteImage from './StartCompleteImage.ts'
import StartImageUpdate from './StartImageUpdate.ts'
import StartSourceUpdate from './StartSourceUpdate.ts'
import StopCompleteImage from './StopCompleteImage.ts'
import StopImageUpdate from './StopImageUpdate.ts'
import StopSourceUpdate from './StopSourceUpdate.ts'
import StoreCompact from './store/compact.ts'
import StoreCreate from './store/create.ts'
import StoreDelete from './store/delete.ts'
import StoreList from './store/list.ts'
import StoreResize from './store/resize.ts'
import StoreShow from './store/show.ts'
import TaskList from './task/list.ts'
import TaskPause from './task/pause.ts'
import TaskResume from './task/resume.ts'
import TaskShow from './task/show.ts'
import TaskStop from './task/stop.ts'
import TaskWait from './task/wait.ts'
import Unpresent from './unpresent.ts'
import WodCreate from './wod/create.ts'
import WodDelete from './wod/delete.ts'
import WodList from './wod/list.ts'
import WodReallocate from './wod/reallocate.ts'
import WodShow from './wod/show.ts'

export const commands = {
  DisableSnap,
  'disk:add': DiskAdd,
  'disk:label': DiskLabel,
  'disk:list': DiskList,
  'disk:offline': DiskOffline,
  'disk:online': DiskOnline,
  'disk:remove': DiskRemove,
  'disk:replace': DiskReplace,
  'disk:show': DiskShow,
  EnableNewSnap,
  EnableSnap,
  explain: Explain,
  GetSnapActiveConfig,
  GetSnapConfig,
  GetSnapStatus,
  'host:add': HostAdd,
  'host:list': HostList,
  'host:remove': HostRemove,
  'host:set': HostSet,
  'host:show': HostShow,
  'lock:show': LockShow,
  'lun:create': LunCreate,
  'lun:delete': LunDelete,
  'lun:export': LunExport,
  'lun:import': LunImport,
  'lun:list': LunList,
  'lun:map': LunMap,
  'lun:protect': LunProtect,
  'lun:read': LunRead,
  'lun:rename': LunRename,
  'lun:resize': LunResize,
  'lun:set': LunSet,
  'lun:show': LunShow,
  'lun:swap': LunSwap,
  'lun:trim': LunTrim,
  'lun:unprotect': LunUnprotect,
  'lun:write': LunWrite,
  'lun:zero': LunZero,
  'metadata:check': MetadataCheck,
  'metadata:dump': MetadataDump,
  metrics: Metrics,
  'pool:create': PoolCreate,
  'pool:destroy': PoolDestroy,
  'pool:events': PoolEvents,
  'pool:export': PoolExport,
  'pool:history': PoolHistory,
  'pool:import': PoolImport,
  'pool:list': PoolList,
  'pool:set': PoolSet,
  'pool:show': PoolShow,
  'pool:status': PoolStatus,
  present: Present,
  'rstore:list': RstoreList,
  'rstore:repair': RstoreRepair,
  'rstore:show': RstoreShow,
  'rstore:verify': RstoreVerify,
  serve: Serve,
  'server:status': ServerStatus,
  'server:stop': ServerStop,
  SetCompleteImageDelay,
  SetImageUpdateDelay,
  SetSourceUpdateDelay,
  'snap:clone': SnapClone,
  'snap:configure': SnapConfigure,
  'snap:create': SnapCreate,
  'snap:delete': SnapDelete,
  'snap:diff': SnapDiff,
  'snap:list': SnapList,
  'snap:maps': SnapMaps,
  'snap:refresh': SnapRefresh,
  'snap:restore': SnapRestore,
  'snap:rotate': SnapRotate,
  'snap:schedule:create': SnapScheduleCreate,
  'snap:schedule:delete': SnapScheduleDelete,
  'snap:schedule:list': SnapScheduleList,
  'snap:schedule:pause': SnapSchedulePause,
  'snap:schedule:resume': SnapScheduleResume,
  'snap:schedule:run': SnapScheduleRun,
  'snap:schedule:show': SnapScheduleShow,
  'snap:show': SnapShow,
  'snap:tree': SnapTree,
  'snap:unconfigure': SnapUnconfigure,
  StartCompleteImage,
  StartImageUpdate,
  StartSourceUpdate,
  StopCompleteImage,
  StopImageUpdate,
  StopSourceUpdate,
  'store:compact': StoreCompact,
  'store:create': StoreCreate,
  'store:delete': StoreDelete,
  'store:list': StoreList,
  'store:resize': StoreResize,
  'store:show': StoreShow,
  'task:list': TaskList,
  'task:pause': TaskPause,
  'task:resume': TaskResume,
  'task:show': TaskShow,
  'task:stop': TaskStop,
  'task:wait': TaskWait,
  unpresent: Unpresent,
  'wod:create': WodCreate,
  'wod:delete': WodDelete,
  'wod:list': WodList,
  'wod:reallocate': WodReallocate,
  'wod:show': WodShow,
}

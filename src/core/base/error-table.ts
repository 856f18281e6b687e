/**
 * Every error a user can meet: code, exit status, what it means, what to do next.
 * The one table that the exit status, `lunar explain` and the third line of a message come from (spec: cli.md, Errors).
 *
 * Exit statuses are frozen: 1 failed, 2 usage, 3 not found, 4 already exists, 5 refused, 6 no space, 7 locked,
 * 8 integrity, 9 degraded, 10 critical, 20 server unreachable, 130 interrupted.
 */
export interface ErrorEntry {
  readonly exit: number
  /** What happened and why the pool reacts so, in one or two sentences. */
  readonly explain: string
  /** The default next step, printed when the thrower has no better one. */
  readonly fix: string
}

const entry = (exit: number, explain: string, fix: string): ErrorEntry => ({ exit, explain, fix })

export const errorTable = {
  ERR_FAILED: entry(1, 'An operation failed for a reason that has no code of its own.', 'read the second line; run the command again with LUNAR_DEBUG=1 for details'),
  ERR_BUG: entry(1, 'An invariant of the program itself is broken. The operation was stopped before it could write anything that follows from it.', 'report it with the text of this message'),
  ERR_IO: entry(1, 'The host reported an I/O error (EIO, ENXIO or a short transfer) and no redundant copy could serve the request.', 'look at the disk named here: lunar disk list'),
  ERR_HOST_LIMIT: entry(1, 'The host refused a resource of this process: file descriptors, memory or permission. No disk is blamed for that and nothing was changed.', 'raise the limit (ulimit -n) or fix the permissions, then repeat the command'),
  ERR_PIPE_CLOSED: entry(1, 'The reader of the output went away before all of it was written.', 'let the reader take all of the output'),
  ERR_VERIFY_MISMATCH: entry(8, 'What was read back differs from what was written.', 'check the disks: lunar pool status'),
  ERR_USAGE: entry(2, 'The command line is not one this command understands.', 'see the same command with --help'),
  ERR_BAD_SIZE: entry(2, 'A size is digits with an optional unit: 10GiB, 10G (the same), 10GB (10^9), 512KiB, or bare bytes. It must be a multiple of what the object allows.', 'write the size like 10GiB or 512MiB'),
  ERR_BAD_NAME: entry(2, 'A name has 1 to 63 letters, digits, dots, underscores and hyphens, and starts with a letter or digit.', 'choose another name'),
  ERR_OUT_OF_RANGE: entry(2, 'The range lies outside of the object.', 'look at its size: lunar lun show'),
  ERR_CONFIRM_NEEDED: entry(2, 'The command destroys data and there is no terminal to ask on.', 'repeat it with --yes'),
  ERR_POOL_AMBIGUOUS: entry(2, 'More than one pool is known and the command does not say which.', 'name it: --pool NAME, LUNAR_POOL or pool/lun'),
  ERR_POOL_NOT_FOUND: entry(3, 'No known pool has this name. Pools are found by the labels on their disks; the registry only remembers where they were last seen.', 'lunar pool import DIR'),
  ERR_DISK_NOT_FOUND: entry(3, 'No disk of the pool has this number, name or id.', 'lunar disk list'),
  ERR_LUN_NOT_FOUND: entry(3, 'The pool has no LUN of this name.', 'lunar lun list'),
  ERR_RELATIONSHIP_NOT_FOUND: entry(3, 'The pool has no relationship of this number or name. Numbers are never used again.', 'lunar snap list'),
  ERR_SNAPSHOT_NOT_FOUND: entry(3, 'The pool has no snapshot of this name. A snapshot is named after its volume: db@monday.', 'lunar snap list'),
  ERR_STORE_NOT_FOUND: entry(3, 'The pool has no store of snapshots of this name.', 'lunar store list'),
  ERR_WOD_NOT_FOUND: entry(3, 'The pool has no write-once device of this name.', 'lunar wod list'),
  ERR_SCHEDULE_NOT_FOUND: entry(3, 'The pool has no schedule of this name.', 'lunar snap schedule list'),
  ERR_HOST_NOT_FOUND: entry(3, 'The pool has no host of this name.', 'lunar host list'),
  ERR_RSTORE_NOT_FOUND: entry(3, 'The LUN has no redundant store of this number.', 'lunar rstore list'),
  ERR_TASK_NOT_FOUND: entry(3, 'The pool has no task of this number; finished tasks are kept for the last hundred only.', 'lunar task list'),
  ERR_PARTITION_NOT_FOUND: entry(3, 'The volume has no partition of this number that makes sense: no partition table, an empty entry, or one that contradicts itself.', 'partition 0 is the whole volume; look at the table inside of it'),
  ERR_FILE_NOT_FOUND: entry(3, 'The file or folder does not exist.', 'check the path'),
  ERR_CODE_NOT_FOUND: entry(3, 'There is no error of this code.', 'lunar explain --list'),
  ERR_EXISTS: entry(4, 'An object of this name exists already.', 'choose another name'),
  ERR_UNCHANGED: entry(4, 'There was nothing to do, and --fail-if-unchanged says that this is a failure.', 'leave --fail-if-unchanged out'),
  ERR_DISK_IN_USE: entry(5, 'The disk carries the label of a pool.', 'use another disk, or --force=overwrite to destroy what it holds'),
  ERR_NOT_EMPTY: entry(5, 'The file is not empty and was not made by Lunar. Lunar never overwrites what is not its own.', 'use another file, or --force=overwrite to destroy what it holds'),
  ERR_DISK_TOO_SMALL: entry(5, 'A disk needs at least 64 MiB, a witness 32 MiB: labels, roots and journal take their part first.', 'use a larger disk'),
  ERR_TOO_FEW_DISKS: entry(5, 'The redundancy type needs more disks, or more failure domains, than are in service.', 'lunar disk add'),
  ERR_WOULD_LOSE_DATA: entry(5, 'The change would drop data that is written.', 'repeat it with --force=lost-data if that is meant'),
  ERR_BUSY: entry(5, 'Something uses the object.', 'stop what uses it, then repeat the command'),
  ERR_INCOMPLETE: entry(5, 'An import into this LUN was interrupted; what it holds is partly new and partly zeros.', 'lunar lun import again, or lunar lun delete'),
  ERR_DUPLICATE_DISK: entry(5, 'Two of the given files carry the label of one disk, or are one file under two paths. One of them is a copy; which one is current cannot be told from its label.', 'leave the copy out: lunar pool import FILE… with just the right ones'),
  ERR_QUORUM_LOST: entry(5, 'Half or more of the newest known quorum disks cannot be read. What the missing ones hold may be newer.', 'bring the disks back; --force=quorum opens what is left; --read-only looks only'),
  ERR_SPLIT_BRAIN: entry(5, 'Two halves of the pool were written apart from each other, each with a majority of its own.', 'look with --read-only --choose DISK, then open that side for writing to discard the other'),
  ERR_FORMAT_NEWER: entry(5, 'The disk was written by a newer version and uses a feature this one does not know.', 'use the newer version of lunar'),
  ERR_READ_ONLY: entry(5, 'The pool is open for reading only.', 'repeat the command without --read-only'),
  ERR_PROTECTED: entry(5, 'The object is protected against this change.', 'remove the protection first'),
  ERR_RELATIONSHIP_STATE: entry(5, 'The relationship is not in a state in which this can be done.', 'lunar snap list'),
  ERR_IN_RELATIONSHIP: entry(5, 'The volume is the source or the image of a relationship that needs it as it is.', 'lunar snap unconfigure the relationships named here first'),
  ERR_IMAGE_INCOMPLETE: entry(5, 'The relationship is disabled and the image does not own all of its chunks, so it cannot be read or written.', 'lunar EnableSnap, or lunar EnableNewSnap'),
  ERR_IMAGE_INVALID: entry(8, 'The image could not be kept when its source was written: its space was full or its disks failed.', 'lunar EnableNewSnap takes a new instant'),
  ERR_SNAPSHOT_DROPPED: entry(8, 'There was no space to preserve a chunk for the snapshot when its source was written, and the policy of the source (on-full) gave the snapshot up before the source changed; or it was taken during an update, and the image of that was given up. It cannot be read, and holds no space.', 'lunar snap delete; more space, or on-full=fail-writes, keeps others from it'),
  ERR_LOST_PART: entry(5, 'While the relationship was disabled the source was written where the image had no copy. Those ranges of the image are lost.', 'repeat it with --force=lost-part to read the source there, or lunar EnableNewSnap'),
  ERR_MIXED: entry(5, 'An update ended before its end, so the volume is partly of one instant and partly of another.', 'start the update again and let it end, or repeat the command with --force=mixed'),
  ERR_NOT_PRESENTED: entry(5, 'The volume is not presented: nothing serves it to other machines, so it has no id as served.', 'use its own volume id: lunar lun show'),
  ERR_PRESENTED: entry(5, 'The volume is presented to a host, which reaches it under its name; one host writes a volume unless it is shared.', 'lunar unpresent it first'),
  ERR_NOT_ALLOWED: entry(5, 'The client of the HTTP API showed no token, or none that is good there.', 'send "Authorization: Bearer TOKEN" with a token of the file that lunar serve --api-token-file names'),
  ERR_ALREADY_WRITTEN: entry(5, 'A write-once device takes one write a block, and a block of this range holds other bytes. A copier has nothing left to do: every block of the range is written.', 'lunar wod reallocate makes blocks writable again'),
  ERR_UNWRITTEN: entry(5, 'A block of the range was never written, so the write-once device holds nothing there.', 'read the volume that the device belongs to instead'),
  ERR_WRITE_ONCE: entry(5, 'The LUN holds the blocks of a write-once device; nobody else may read, write or change it.', 'lunar wod show'),
  ERR_RESTORING: entry(5, 'A LUN is being restored to a snapshot, and copies it back in the background.', 'lunar task list shows it: wait for its end'),
  ERR_HAS_SNAPSHOTS: entry(5, 'Snapshots read what the object holds.', 'lunar snap delete the snapshots named here first'),
  ERR_SNAPSHOT_STORE: entry(5, 'The LUN is a store: it holds preserved chunks of snapshots, and nobody else may read, write or change it.', 'lunar store show'),
  ERR_CLOCK: entry(5, 'Rotation goes by the age of snapshots, and the clock seems to have jumped: it is before the newest snapshot or the last write of the pool, or further after them than the longest keep rule. Nothing was deleted.', 'set the clock; --force=clock if it is right'),
  ERR_TOO_MANY: entry(5, 'A rotation would delete more than half of the snapshots it looks at, which is more often a mistake than meant. Nothing was deleted.', 'look with --dry-run; --force=many if that is meant'),
  ERR_DISK_STATE: entry(5, 'The disk is not in a state in which this can be done.', 'lunar disk list'),
  ERR_REDUNDANCY: entry(5, 'The change would leave data without the redundancy it was promised, or without any copy at all.', 'bring other disks back first, or repeat with --force=redundancy'),
  ERR_INTERRUPTED_IMPORT: entry(130, 'The import was interrupted. The LUN is marked incomplete.', 'run the import again, or delete the LUN'),
  ERR_POOL_FULL: entry(6, 'No disk combination that the redundancy rules allow has a free segment left.', 'lunar disk add, or delete or trim LUNs'),
  ERR_HOST_FULL: entry(6, 'The file system under the disk images has no space. Segments are reserved there when they are bound, so only new space meets this.', 'free space on the host; writes then go on without a restart'),
  ERR_METADATA_FULL: entry(6, 'There is no room to describe one more object. Deleting always works.', 'lunar disk add'),
  ERR_LOCKED: entry(7, 'Another process owns the pool and could not be asked.', 'wait for it, or stop it; lunar lock show names it'),
  ERR_SUSPENDED: entry(8, 'A flush failed on a disk without redundancy, so earlier writes may be gone. All I/O of the LUNs on it is refused until the pool is opened again.', 'close the owner (lunar pool export), check the disk, use the pool again'),
  ERR_METADATA_DAMAGED: entry(8, 'A block of metadata failed its checksum on every copy. The object it describes is refused; others are served.', 'lunar metadata check'),
  ERR_LABEL_DAMAGED: entry(8, 'Neither copy of the disk label is whole.', 'leave the disk out; a pool with redundancy opens without it'),
  ERR_NOT_A_DISK: entry(8, 'The file carries no Lunar label.', 'check the path'),
  ERR_TRUNCATED: entry(8, 'The image is shorter than its label says. It counts as failed and is neither extended nor filled.', 'restore the image; a pool with redundancy opens without it'),
  ERR_DATA_LOST: entry(8, 'The range has no readable copy.', 'bring the missing disk back: lunar disk list'),
  ERR_CHECK_FAILED: entry(8, 'The metadata contradicts itself.', 'keep the disks as they are and report it with lunar metadata dump'),
  ERR_NONLOCAL: entry(5, 'The image lies on a network file system, where locks of other hosts may not be seen.', 'repeat with --force=nonlocal if no other host uses it'),
  ERR_DEGRADED: entry(9, 'Every LUN can be read and written, but some with less redundancy than promised.', 'lunar disk list shows which disk is missing'),
  ERR_CRITICAL: entry(10, 'Some LUN cannot be read or written in part.', 'lunar lun map --lost LUN shows the ranges'),
  ERR_SERVER_UNREACHABLE: entry(20, 'The process that owns the pool does not answer on its control socket.', 'lunar lock show; stop that process'),
  ERR_SERVER_VERSION: entry(20, 'The process that owns the pool is of another version and does not know this request.', 'stop it, and repeat the command'),
  ERR_BAD_HANDLE: entry(2, 'The handle was never opened, or is closed.', 'DcsPITDeviceCreateHandle gives a new one'),
  ERR_TASK_STATE: entry(5, 'The task is not in a state in which this can be done.', 'lunar task show'),
  ERR_TASK_FAILED: entry(1, 'The background task ended with an error.', 'lunar task show'),
  ERR_TASK_STOPPED: entry(1, 'The background task was stopped before its end.', 'start it again'),
  ERR_INTERRUPTED: entry(130, 'The command was interrupted. No metadata is half done.', 'repeat it'),
} as const satisfies Record<string, ErrorEntry>

export type ErrorCode = keyof typeof errorTable
export const isErrorCode = (code: string): code is ErrorCode => Object.hasOwn(errorTable, code)

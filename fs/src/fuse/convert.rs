//! From POSIX types to fuser's and back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{Errno, FileAttr, FileType, INodeNo, Request, TimeOrNow};

use crate::{
    Error,
    posix::{Attr, Caller, Kind, SetAttr},
};

/// The unit of `st_blocks`, in bytes.
const SECTOR: u64 = 512;
/// What programs are told to read and write at a time, in bytes.
const BLOCK_SIZE: u32 = 1 << 17;

/// What stands for an entry that does not exist.
pub(super) const NO_ATTR: FileAttr = FileAttr {
    ino: INodeNo(0),
    size: 0,
    blocks: 0,
    atime: UNIX_EPOCH,
    mtime: UNIX_EPOCH,
    ctime: UNIX_EPOCH,
    crtime: UNIX_EPOCH,
    kind: FileType::RegularFile,
    perm: 0,
    nlink: 0,
    uid: 0,
    gid: 0,
    rdev: 0,
    blksize: BLOCK_SIZE,
    flags: 0,
};

pub(super) fn attr(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino),
        size: attr.size,
        blocks: attr.size.div_ceil(SECTOR),
        atime: attr.atime,
        mtime: attr.mtime,
        ctime: attr.ctime,
        crtime: attr.crtime,
        kind: file_type(attr.kind),
        perm: attr.perm,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: attr.rdev,
        ..NO_ATTR
    }
}

/// What stands for an entry that is there and cannot be read.
pub(super) const fn unreadable(ino: u64, kind: Kind) -> FileAttr {
    FileAttr { ino: INodeNo(ino), kind: file_type(kind), nlink: 1, ..NO_ATTR }
}

pub(super) const fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Directory => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        Kind::Fifo => FileType::NamedPipe,
        Kind::Socket => FileType::Socket,
        Kind::BlockDevice => FileType::BlockDevice,
        Kind::CharDevice => FileType::CharDevice,
    }
}

pub(super) fn set_attr(
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    size: Option<u64>,
    atime: Option<TimeOrNow>,
    mtime: Option<TimeOrNow>,
) -> SetAttr {
    let time = |time| match time {
        TimeOrNow::SpecificTime(time) => forward(time),
        TimeOrNow::Now => SystemTime::now(),
    };
    SetAttr { mode: mode.map(|m| m & 0o7777), uid, gid, size, atime: atime.map(time), mtime: mtime.map(time) }
}

/// Nanoseconds count forward also before 1970, but fuser has counted them backward there.
fn forward(time: SystemTime) -> SystemTime {
    let nanos = time.duration_since(UNIX_EPOCH).map_or_else(|before| before.duration().subsec_nanos(), |_| 0);
    time + 2 * Duration::from_nanos(nanos.into())
}

pub(super) fn caller(request: &Request, umask: u32) -> Caller {
    Caller { uid: request.uid(), gid: request.gid(), umask }
}

/// The error number. What a person should know and a number cannot say goes to the log.
pub(super) fn errno(error: &Error) -> Errno {
    let number = error.errno();
    if number == libc::EIO {
        tracing::error!("{error}");
    }
    Errno::from_i32(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970() {
        let millis = Duration::from_millis;
        // -1 s and 250 ms forward, as fuser reads it: 1 s and 250 ms backward
        assert_eq!(forward(UNIX_EPOCH - millis(1250)), UNIX_EPOCH - millis(750));
        assert_eq!(forward(UNIX_EPOCH - millis(3000)), UNIX_EPOCH - millis(3000));
        assert_eq!(forward(UNIX_EPOCH + millis(1250)), UNIX_EPOCH + millis(1250));
    }
}

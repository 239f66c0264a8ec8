//! Attributes as POSIX knows them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{cryptree::Time, posix::Kind};

/// The attributes of an inode.
#[derive(Debug, Clone)]
pub struct Attr {
    /// Inode number: 1 for the root, otherwise stable over remounts.
    pub ino: u64,
    /// Size in bytes; of a symlink, the length of its target.
    pub size: u64,
    /// Last access, as with the mount option `relatime`; kept in memory only.
    pub atime: SystemTime,
    /// Last change of the content.
    pub mtime: SystemTime,
    /// Last change of the attributes, kept in memory only.
    pub ctime: SystemTime,
    /// Creation.
    pub crtime: SystemTime,
    /// What it is.
    pub kind: Kind,
    /// Permission bits (07777).
    pub perm: u16,
    /// Number of links: 1; of a directory 2 and one for each directory in it, or 1 if that is not known.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number, as makedev(3) has it; of anything but a device 0.
    pub rdev: u32,
    /// Whether the entry cannot be read: the rest is what its directory knows, and may be different at any time.
    pub damaged: bool,
}

/// What `setattr` changes.
#[derive(Debug, Clone, Copy, Default)]
pub struct SetAttr {
    /// New permission bits (07777).
    pub mode: Option<u32>,
    /// New owner.
    pub uid: Option<u32>,
    /// New group.
    pub gid: Option<u32>,
    /// New size in bytes.
    pub size: Option<u64>,
    /// New access time.
    pub atime: Option<SystemTime>,
    /// New modification time.
    pub mtime: Option<SystemTime>,
}

/// Who asks, and with which mask for new entries.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    /// Effective user of the calling process.
    pub uid: u32,
    /// Effective group of the calling process.
    pub gid: u32,
    /// The process's umask.
    pub umask: u32,
}

/// What `statfs` answers.
#[derive(Debug, Clone, Copy)]
pub struct StatFs {
    /// Unit of the block counts in bytes.
    pub block_size: u32,
    /// The quota in blocks.
    pub blocks: u64,
    /// Blocks not in use.
    pub free: u64,
}

/// A time of spec 03 §4.1 as the system's; times beyond its range become its epoch.
pub(crate) fn system_time(time: Time) -> SystemTime {
    let nanos = Duration::from_nanos(u64::from(time.nanos));
    let whole = Duration::from_secs(time.secs.unsigned_abs());
    let second = if time.secs < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    second.and_then(|s| s.checked_add(nanos)).unwrap_or(UNIX_EPOCH)
}

/// The system's time as one of spec 03 §4.1: floor seconds and nanoseconds that are never negative.
pub(crate) fn protocol_time(time: SystemTime) -> Time {
    let time = exact_time(time);
    // other clients refuse a whole directory for a time outside their calendar
    Time { secs: time.secs.clamp(Time::MIN_SECS, Time::MAX_SECS), ..time }
}

fn exact_time(time: SystemTime) -> Time {
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => Time { secs: seconds(after), nanos: after.subsec_nanos() },
        Err(before) => {
            let before = before.duration();
            match before.subsec_nanos() {
                0 => Time { secs: -seconds(before), nanos: 0 },
                nanos => Time { secs: -seconds(before) - 1, nanos: 1_000_000_000 - nanos },
            }
        }
    }
}

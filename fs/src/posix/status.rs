//! What a mount says about itself.

use std::time::SystemTime;

use peergos_net::Reach;
use serde_json::{Value, json};

use crate::{account::since_epoch, posix::FileSystem};

/// How a mounted drive is.
#[derive(Debug, Clone)]
pub struct Status {
    /// Whose drive it is.
    pub username: String,
    /// Whether its node can be asked.
    pub reach: Reach,
    /// Changed entries that are not committed.
    pub queue: usize,
    /// Bytes of written data in memory that are not committed.
    pub dirty_bytes: u64,
    /// Bytes that changes which are not committed take on the local disk.
    pub journal_bytes: u64,
    /// When something was last committed.
    pub last_commit: Option<SystemTime>,
    /// Why the last attempt to commit failed, or left something out, if it did.
    pub error: Option<String>,
    /// Bytes of decrypted chunks in memory.
    pub memory_cache: u64,
    /// Bytes of encrypted blocks on the local disk that come from a server, and how many there may be.
    pub disk_cache: Option<(u64, u64)>,
    /// Bytes that the account uses on its node, and the bytes that it may use, as far as that is known.
    pub space: Option<(u64, u64)>,
    /// How many paths are pinned, and whether all that is below them is on this machine.
    pub pins: (usize, bool),
}

impl FileSystem {
    /// How the drive is. The node is asked for the space only, and not if it is out of reach.
    pub fn status(&self) -> Status {
        let reach = self.drive.node.node().reach();
        let is_waiting = |inode: &std::sync::Arc<super::inode::Inode>| {
            let state = inode.state.lock();
            state.queued || state.flushing
        };
        Status {
            username: self.account.username.clone(),
            queue: self.inodes.all().iter().filter(|inode| is_waiting(inode)).count(),
            dirty_bytes: self.dirty_bytes(),
            journal_bytes: self.bytes_kept_here(),
            last_commit: self.schedule.last_commit(),
            error: self.schedule.error().map(|error| error.to_string()),
            memory_cache: self.chunks.bytes() as u64,
            disk_cache: self.drive.node.disk_usage(),
            space: self.used_and_quota(),
            pins: self.pins.as_ref().map_or((0, true), |pins| (pins.paths().len(), pins.are_complete(&self.drive))),
            reach,
        }
    }
}

impl Status {
    /// As a JSON object; sizes are in bytes, times in seconds since 1970 UTC.
    pub fn to_json(&self) -> Value {
        let seconds = |time: SystemTime| since_epoch(time).as_secs();
        let (state, since, reason) = match &self.reach {
            Reach::Here => ("embedded", None, None),
            Reach::Online { since } => ("online", Some(seconds(*since)), None),
            Reach::Offline { since, reason } => ("offline", Some(seconds(*since)), Some(reason)),
        };
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "username": self.username,
            "connected": state != "offline",
            "node": state,
            "since": since,
            "reason": reason,
            "queue": self.queue,
            "dirty_bytes": self.dirty_bytes,
            "journal_bytes": self.journal_bytes,
            "last_commit": self.last_commit.map(seconds),
            "error": self.error,
            "memory_cache_bytes": self.memory_cache,
            "disk_cache_bytes": self.disk_cache.map(|(used, _)| used),
            "disk_cache_limit": self.disk_cache.map(|(_, limit)| limit),
            "used_bytes": self.space.map(|(used, _)| used),
            "quota_bytes": self.space.map(|(_, quota)| quota),
            "pinned": self.pins.0,
            "pinned_complete": self.pins.1,
        })
    }
}

//! Keeping the cache within its bounds, whoever has filled it.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustix::fs::FlockOperation;

use super::{HOUR, NEW, on_disk, pinned::PINNED};

/// A block's file.
struct Entry {
    used: SystemTime,
    size: u64,
    path: PathBuf,
}

/// Bytes on disk.
pub(super) fn used(dir: &Path) -> u64 {
    entries(dir).map_or(0, |entries| entries.iter().map(|entry| entry.size).sum())
}

/// Removes what was not used for longest until there is a tenth of `max` bytes of room, and returns what is left. While
/// another process does so, nothing is done.
pub(super) fn make_room(dir: &Path, max: u64) -> io::Result<u64> {
    let lock = File::create(dir.join(NEW).join("lock"))?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(max - max / 10),
        result => result?,
    }
    remove_leftovers(&dir.join(NEW))?;
    let mut entries = entries(dir)?;
    entries.sort_unstable_by_key(|entry| entry.used);
    let mut left: u64 = entries.iter().map(|entry| entry.size).sum();
    for entry in entries {
        if left <= max - max / 10 {
            break;
        }
        // another process may have removed it as damaged
        let _ = fs::remove_file(&entry.path);
        left -= entry.size;
    }
    Ok(left)
}

/// What processes that were killed have left.
fn remove_leftovers(new: &Path) -> io::Result<()> {
    for entry in fs::read_dir(new)?.flatten() {
        let old = entry.metadata()?.modified()?.elapsed().is_ok_and(|age| age > HOUR);
        if old && entry.file_name() != "lock" {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

fn entries(dir: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for folder in fs::read_dir(dir)?.flatten() {
        if [NEW, PINNED].iter().any(|other| folder.file_name() == *other) || !folder.file_type()?.is_dir() {
            continue;
        }
        for file in fs::read_dir(folder.path())?.flatten() {
            // it may be gone by now
            let Ok(metadata) = file.metadata() else { continue };
            entries.push(Entry { used: metadata.modified()?, size: on_disk(metadata.len()), path: file.path() });
        }
    }
    Ok(entries)
}

//! The disk under the store.

use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use peergos_crypto::cid::Codec;

use crate::{Error, Result};

/// What something is written for, and with it how much room it leaves for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Fragments, most of which are content of files.
    Content,
    /// Nodes: to delete a file takes new blocks, too, if only small ones.
    Structure,
    /// What makes room.
    Vital,
}

impl Purpose {
    /// What blocks of this codec are for, as far as that tells.
    pub fn of(codec: Codec) -> Self {
        if codec == Codec::Raw { Self::Content } else { Self::Structure }
    }

    /// What is left free, in bytes; the least of it is for the database.
    const fn reserve(self) -> u64 {
        match self {
            Self::Content => 16 << 20,
            Self::Structure => 8 << 20,
            Self::Vital => 4 << 20,
        }
    }
}

/// A disk with less free space than this, in bytes, or than this part of it, is short of space.
const SHORT: u64 = 1 << 30;
const SHORT_PART: u64 = 20;

/// The disk that holds a folder.
pub(super) struct Disk {
    dir: PathBuf,
    /// Bytes that are being written.
    in_flight: Mutex<u64>,
}

/// Room for something that is being written.
pub(super) struct Room<'a> {
    disk: &'a Disk,
    size: u64,
}

impl Disk {
    pub fn of(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), in_flight: Mutex::default() }
    }

    /// Its size in bytes.
    pub fn total(&self) -> Result<u64> {
        let disk = self.stat()?;
        Ok(disk.f_blocks.saturating_mul(disk.f_frsize))
    }

    /// Takes room for blocks of `size` bytes, to be held until they are written.
    ///
    /// # Errors
    /// [`Error::DiskFull`].
    pub fn room(&self, purpose: Purpose, size: u64) -> Result<Room<'_>> {
        let mut in_flight = self.in_flight.lock();
        if self.free()? < purpose.reserve().saturating_add(*in_flight).saturating_add(size) {
            return Err(Error::DiskFull);
        }
        *in_flight += size;
        Ok(Room { disk: self, size })
    }

    /// How many bytes can be written for a purpose.
    pub fn left(&self, purpose: Purpose) -> Result<u64> {
        let taken = *self.in_flight.lock();
        Ok(self.free()?.saturating_sub(purpose.reserve()).saturating_sub(taken))
    }

    /// Whether it is time to make room.
    pub fn is_short(&self) -> Result<bool> {
        Ok(self.free()? < SHORT.max(self.total()? / SHORT_PART))
    }

    fn free(&self) -> Result<u64> {
        let disk = self.stat()?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    fn stat(&self) -> Result<rustix::fs::StatVfs> {
        rustix::fs::statvfs(&self.dir).map_err(|e| Error::io("reading the size of the disk")(e.into()))
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        *self.disk.in_flight.lock() -= self.size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_being_written_takes_room() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::of(dir.path());
        let half = disk.free().unwrap() / 2;
        let first = disk.room(Purpose::Content, half).unwrap();
        let most = disk.free().unwrap().saturating_sub(half / 2);
        assert!(matches!(disk.room(Purpose::Content, most), Err(Error::DiskFull)));
        drop(first);
        disk.room(Purpose::Content, half).unwrap();
    }
}

//! The disk under the store.

use std::path::Path;

use peergos_crypto::cid::Codec;

use crate::{Error, Result};

/// What is left free for commits, in bytes.
const RESERVE: u64 = 4 << 20;
/// What fragments leave free besides, in bytes: to delete a file takes new blocks, too, if only small ones.
const RESERVE_FOR_NODES: u64 = 12 << 20;

/// The size of the disk that holds `dir`, in bytes.
pub(super) fn total(dir: &Path) -> Result<u64> {
    let disk = stat(dir)?;
    Ok(disk.f_blocks.saturating_mul(disk.f_frsize))
}

/// Checks that blocks of `size` bytes fit.
///
/// # Errors
/// [`Error::DiskFull`].
pub(super) fn require(dir: &Path, codec: Codec, size: u64) -> Result<()> {
    let disk = stat(dir)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let reserve = if codec == Codec::Raw { RESERVE + RESERVE_FOR_NODES } else { RESERVE };
    if free < reserve.saturating_add(size) { Err(Error::DiskFull) } else { Ok(()) }
}

fn stat(dir: &Path) -> Result<rustix::fs::StatVfs> {
    rustix::fs::statvfs(dir).map_err(|e| Error::io("reading the size of the disk")(e.into()))
}

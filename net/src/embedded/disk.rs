//! The disk under the store.

use std::path::Path;

use crate::{Error, Result};

/// What puts leave free, in bytes, so that there is room for the commit that deletes something.
const RESERVE: u64 = 16 << 20;

/// The size of the disk that holds `dir`, in bytes.
pub(super) fn total(dir: &Path) -> Result<u64> {
    let disk = stat(dir)?;
    Ok(disk.f_blocks.saturating_mul(disk.f_frsize))
}

/// Checks that `size` more bytes fit.
///
/// # Errors
/// [`Error::DiskFull`].
pub(super) fn require(dir: &Path, size: u64) -> Result<()> {
    let disk = stat(dir)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free < RESERVE.saturating_add(size) { Err(Error::DiskFull) } else { Ok(()) }
}

fn stat(dir: &Path) -> Result<rustix::fs::StatVfs> {
    rustix::fs::statvfs(dir).map_err(|e| Error::io("reading the size of the disk")(e.into()))
}

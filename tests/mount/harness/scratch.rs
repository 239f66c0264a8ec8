//! Temporary folders: in memory where there is room, on disk for what is large.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A memory file system is worth using above this much free space, in bytes.
const ENOUGH: u64 = 4 << 30;

/// A folder that vanishes with the value.
pub struct Scratch(TempDir);

impl Scratch {
    /// In memory if `/dev/shm` has room, else in the system's temporary folder. `PEERGOS_TEST_DIR` overrides both.
    pub fn new() -> Self {
        Self::under(std::env::var_os("PEERGOS_TEST_DIR").map(PathBuf::from).unwrap_or_else(|| {
            let memory = Path::new("/dev/shm");
            if free_space(memory) >= ENOUGH { memory.to_owned() } else { std::env::temp_dir() }
        }))
    }

    /// On disk, for gigabytes.
    pub fn on_disk() -> Self {
        Self::under("/var/tmp".into())
    }

    fn under(base: PathBuf) -> Self {
        let dir = tempfile::Builder::new().prefix("peergos-mount-test-").tempdir_in(&base);
        Self(dir.unwrap_or_else(|e| panic!("no temporary folder in {}: {e}", base.display())))
    }
}

impl Deref for Scratch {
    type Target = Path;

    fn deref(&self) -> &Path {
        self.0.path()
    }
}

/// Bytes that may still be written under `path`; 0 if it does not exist.
pub fn free_space(path: &Path) -> u64 {
    rustix::fs::statvfs(path).map_or(0, |s| s.f_bavail.saturating_mul(s.f_frsize))
}

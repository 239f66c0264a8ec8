//! One of the two folders that operations are applied to, with the files that are open in it.

use std::fs::File;
use std::path::{Path, PathBuf};

/// How many files may be open at once.
pub const SLOTS: usize = 4;

/// A folder and open files.
pub struct World {
    root: PathBuf,
    /// Files held open over renames and removals.
    pub open: [Option<File>; SLOTS],
}

impl World {
    /// An empty folder.
    pub fn new(root: PathBuf) -> Self {
        Self { root, open: Default::default() }
    }

    /// A path in it.
    pub fn path(&self, relative: &Path) -> PathBuf {
        self.root.join(relative)
    }

    /// Closes what is open.
    pub fn close(&mut self) {
        self.open = Default::default();
    }
}

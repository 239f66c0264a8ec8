//! Open files and directories.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};

use crate::{Error, Result, posix::inode::Inode};

/// An open file or directory.
pub(super) struct Handle {
    /// What is open.
    pub inode: Arc<Inode>,
    /// Flags of open(2).
    pub flags: i32,
    /// How it has been read so far.
    pub pattern: Mutex<Pattern>,
}

impl Handle {
    /// Whether it was opened for writing.
    pub const fn is_writable(&self) -> bool {
        self.flags & libc::O_ACCMODE != libc::O_RDONLY
    }
}

/// How a file is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// It cannot be told yet.
    Unclear,
    /// Reads follow one another.
    Sequential,
    /// They do not.
    Scattered,
}

/// Whether reads follow one another.
#[derive(Debug, Default)]
pub(super) struct Pattern {
    last_end: u64,
    streak: u32,
    jumps: u32,
}

impl Pattern {
    /// How far from the end of the last read one may begin and still follow it: the kernel reads ahead in pieces, which
    /// arrive in any order.
    const NEAR: u64 = 4 << 20;
    /// How many reads that follow one another make a sequence.
    const SEQUENCE: u32 = 2;
    /// How many reads that follow none, without a sequence in between, are called scattered.
    const SCATTERED: u32 = 4;

    /// Notes a read, and says how it goes with those before.
    pub fn note(&mut self, offset: u64, len: u64) -> Access {
        if offset.abs_diff(self.last_end) <= Self::NEAR {
            self.streak = self.streak.saturating_add(1);
        } else {
            self.streak = 0;
            self.jumps = self.jumps.saturating_add(1);
        }
        self.last_end = self.last_end.max(offset + len).min(offset + len + Self::NEAR);
        if self.streak >= Self::SEQUENCE {
            self.jumps = 0;
            Access::Sequential
        } else if self.jumps >= Self::SCATTERED {
            Access::Scattered
        } else {
            Access::Unclear
        }
    }
}

/// Handles by number.
#[derive(Default)]
pub(super) struct Handles {
    next: AtomicU64,
    open: RwLock<HashMap<u64, Arc<Handle>>>,
}

impl Handles {
    /// Opens an inode.
    pub fn open(&self, inode: &Arc<Inode>, flags: i32) -> u64 {
        inode.opens.fetch_add(1, Ordering::Relaxed);
        let number = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let handle = Handle { inode: inode.clone(), flags, pattern: Mutex::default() };
        self.open.write().insert(number, Arc::new(handle));
        number
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.open.read().len()
    }

    /// Whether anybody has an inode open for writing.
    pub fn is_written(&self, inode: &Inode) -> bool {
        self.open.read().values().any(|handle| handle.inode.ino == inode.ino && handle.is_writable())
    }

    /// An open handle.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn get(&self, number: u64) -> Result<Arc<Handle>> {
        self.open.read().get(&number).cloned().ok_or(Error::Errno(libc::EBADF))
    }

    /// Closes a handle and returns what it had open.
    pub fn close(&self, number: u64) -> Option<Arc<Inode>> {
        let handle = self.open.write().remove(&number)?;
        handle.inode.opens.fetch_sub(1, Ordering::Relaxed);
        Some(handle.inode.clone())
    }
}

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
    /// Reads do not follow one another, or it cannot be told yet.
    Scattered,
    /// They do.
    Sequential,
}

/// Whether reads follow one another.
#[derive(Debug, Default)]
pub(super) struct Pattern {
    last_end: u64,
    streak: u32,
}

impl Pattern {
    /// How far from the end of the last read one may begin and still follow it, in bytes and in lengths of a read: the kernel
    /// reads ahead in pieces, which arrive in any order. Small reads near each other are not a sequence yet.
    const NEAR: u64 = 4 << 20;
    const PIECES: u64 = 16;
    /// How many reads that follow one another make a sequence.
    const SEQUENCE: u32 = 2;

    /// Notes a read, and says how it goes with those before.
    pub fn note(&mut self, offset: u64, len: u64) -> Access {
        let near = len.saturating_mul(Self::PIECES).min(Self::NEAR);
        if offset.abs_diff(self.last_end) <= near {
            self.streak = self.streak.saturating_add(1);
        } else {
            self.streak = 0;
        }
        self.last_end = self.last_end.max(offset + len).min(offset + len + near);
        if self.streak >= Self::SEQUENCE { Access::Sequential } else { Access::Scattered }
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

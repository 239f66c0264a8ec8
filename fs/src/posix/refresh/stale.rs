//! What the kernel has to be told to forget.

use std::sync::{Arc, mpsc};

use crate::posix::FileSystem;

/// Something that the kernel may remember and is to forget: it is not so any more, or of a file that takes our memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stale {
    /// Attributes and content of an inode.
    Inode(u64),
    /// What a name in a directory stands for.
    Name {
        /// Inode number of the directory.
        directory: u64,
        /// The name.
        name: Arc<str>,
        /// The inode number that it stood for, if it stands for nothing now.
        gone: Option<u64>,
    },
}

impl FileSystem {
    /// Everything that becomes stale from now on. One listener at a time.
    pub fn stale(&self) -> mpsc::Receiver<Stale> {
        let (sender, receiver) = mpsc::channel();
        *self.listener.lock() = Some(sender);
        receiver
    }

    /// Tells the listener.
    pub(in crate::posix) fn announce(&self, stale: Vec<Stale>) {
        if let Some(listener) = &*self.listener.lock() {
            // one who has gone needs nothing any more
            stale.into_iter().for_each(|stale| drop(listener.send(stale)));
        }
    }
}

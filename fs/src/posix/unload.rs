//! How many names of directories are in memory: the kernel remembers directories for as long as the machine has memory, and
//! the children of each would stay loaded with it.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    posix::{
        FileSystem, NONE_REMEMBERED,
        crowd::SHARE,
        dir::Dir,
        inode::{Inode, ROOT, State},
    },
    uptime::uptime,
};

/// Which part of so many must have come before it is looked again what can go.
const STEP: usize = 8;

/// The directories whose children were loaded, in the order in which that happened.
#[derive(Default)]
pub(super) struct Lists {
    order: Mutex<Vec<u64>>,
    /// How many names came since it was last looked what can go; a directory counts as one.
    new: AtomicUsize,
    /// Whether there were too many still, after it was last looked.
    is_exceeded: AtomicBool,
}

impl Lists {
    /// The children of a directory are in memory now.
    pub fn came(&self, directory: &Inode, names: usize) {
        self.order.lock().push(directory.ino);
        self.new.fetch_add(names + 1, Ordering::Relaxed);
    }

    /// A name was added to one of them.
    pub fn grew(&self) {
        self.new.fetch_add(1, Ordering::Relaxed);
    }
}

/// The children of a directory are loaded, and stay so until this is dropped.
#[must_use]
pub(super) struct Loaded<'a>(&'a Inode);

impl<'a> Loaded<'a> {
    /// `state` is that of the directory, in which they are.
    pub fn new(directory: &'a Inode, _state: &State) -> Self {
        directory.users.fetch_add(1, Ordering::Relaxed);
        Self(directory)
    }
}

impl Drop for Loaded<'_> {
    fn drop(&mut self) {
        self.0.users.fetch_sub(1, Ordering::Release);
    }
}

impl FileSystem {
    /// Has the children of directories leave that were loaded first, if there are too many: of those that nobody works
    /// with, and of whose children the kernel knows none. They are loaded again when somebody asks for them.
    pub(super) fn bound_lists(&self) {
        if self.inodes.lists.new.load(Ordering::Relaxed) >= self.most_names() / STEP {
            self.unload_surplus();
        }
    }

    /// To be called after a commit: what had to stay for its sake may leave now.
    pub(super) fn bound_lists_again(&self) {
        if self.inodes.lists.is_exceeded.load(Ordering::Relaxed) {
            self.unload_surplus();
        }
    }

    const fn most_names(&self) -> usize {
        self.options.cache_bytes / SHARE
    }

    fn unload_surplus(&self) {
        // what is replayed is not yet where the journal says it is, and nothing can be loaded without the node
        if self.replaying.load(Ordering::Relaxed) || self.is_offline() {
            return;
        }
        // In between, others' changes would be taken in with some children loaded that are not any more; and who is loading
        // children would bring back what they were before.
        let Some(_change) = self.gate.try_change() else { return };
        let Some(_no_loads) = self.inodes.try_hold() else { return };
        let Lists { order, new, is_exceeded } = &self.inodes.lists;
        new.store(0, Ordering::Relaxed);
        let mut known = std::mem::take(&mut *order.lock());
        let (mut loaded, mut total, mut seen) = (Vec::new(), 0, HashSet::new());
        known.retain(|ino| {
            let Some(directory) = self.inodes.get(*ino).filter(|_| seen.insert(*ino)) else { return false };
            let names = directory.state.lock().dir.as_ref().map(|dir| dir.len() + 1);
            total += names.unwrap_or(0);
            loaded.extend(names.map(|names| (directory, names)));
            names.is_some()
        });
        order.lock().splice(..0, known);
        let mut surplus = total.saturating_sub(self.most_names());
        for (directory, names) in loaded {
            if surplus == 0 {
                break;
            }
            if self.unload(&directory) {
                surplus = surplus.saturating_sub(names);
            }
        }
        is_exceeded.store(surplus > 0, Ordering::Relaxed);
    }

    /// Drops the children of a directory, unless they are needed. Returns whether it did.
    fn unload(&self, directory: &Arc<Inode>) -> bool {
        let mut state = directory.state.lock();
        let is_used = directory.ino == ROOT
            || directory.users.load(Ordering::Acquire) > 0
            || directory.is_open()
            || directory.children.load(Ordering::Relaxed) > 0
            || !state.is_settled()
            || !state.dir.as_deref().is_some_and(Dir::is_settled)
            || self.is_remembered(directory, &state);
        let dir = if is_used { None } else { state.dir.take() };
        drop(state);
        dir.is_some()
    }

    /// Whether the kernel may remember what a name in the directory stands for that is no inode of ours.
    fn is_remembered(&self, directory: &Inode, state: &State) -> bool {
        let is_damaged = || {
            state.dir.as_deref().into_iter().flat_map(Dir::iter).any(|(_, child)| self.damaged.stands_for(child.ino))
        };
        let denied = directory.denied.load(Ordering::Relaxed);
        let is_denied = denied > 0 && uptime() < Duration::from_secs(denied) + NONE_REMEMBERED;
        is_denied || (!self.damaged.is_empty() && is_damaged())
    }

    /// Notes that the kernel is told that a directory does not have some name, where others could add that: it has to be
    /// told when they do.
    pub(super) fn deny(&self, directory: &Inode) {
        if self.options.poll_interval.is_some() {
            directory.denied.store(uptime().as_secs() + 1, Ordering::Relaxed);
        }
    }
}

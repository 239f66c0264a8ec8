//! How many files the kernel remembers: of its own accord it goes on for as long as the machine has memory, and each takes some
//! of ours.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;

use crate::posix::{FileSystem, Kind, Stale, inode::Inode};

/// How many new ones are waited for before the kernel is told to forget others, and how many it is told to forget.
const STEP: usize = 512;
const TOLD: usize = 2 * STEP;
/// For so many bytes of the cache there may be one.
pub(super) const SHARE: usize = 4 << 10;
/// About how many bytes of memory one takes, with its name.
pub(super) const INODE: usize = 1800;
/// The fewest.
const LEAST: usize = 4096;

/// The files that have an inode, in the order in which they came, among others that have gone.
#[derive(Default)]
pub(super) struct Crowd {
    order: Mutex<VecDeque<u64>>,
    /// How many came since the kernel was told to forget some.
    new: AtomicUsize,
}

impl Crowd {
    /// One has come. Directories do not count: they stay, since they may be where a program works, which does not have them
    /// open for that.
    pub fn came(&self, inode: &Inode) {
        if inode.kind != Kind::Directory {
            self.order.lock().push_back(inode.ino);
            self.new.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl FileSystem {
    /// Has the kernel forget the files that came first, if there are too many.
    pub(super) fn bound_crowd(&self) {
        let Crowd { order, new } = &self.inodes.crowd;
        if new.load(Ordering::Relaxed) < STEP || new.swap(0, Ordering::Relaxed) == 0 {
            return;
        }
        let count = self.inodes.len();
        let most = (self.options.cache_bytes / SHARE).max(LEAST);
        let mut surplus = count.saturating_sub(most).min(TOLD);
        let (mut looked_at, mut told) = (Vec::new(), Vec::new());
        let mut order = order.lock();
        if order.len() > 2 * count.max(LEAST) {
            order.retain(|ino| self.inodes.is_present(*ino));
        }
        for _ in 0..order.len() {
            if surplus == 0 {
                break;
            }
            let Some(inode) = order.pop_front().and_then(|ino| self.inodes.get(ino)) else { continue };
            looked_at.push(inode.ino);
            if !inode.is_open() && inode.lookups.load(Ordering::Relaxed) > 0 {
                surplus -= 1;
                told.push(inode);
            }
        }
        // who does not go is told again in their turn
        order.extend(looked_at);
        drop(order);
        let stale = told.iter().filter_map(|inode| {
            let state = inode.state.lock();
            let name = state.properties.name.as_str().into();
            Some(Stale::Name { directory: state.parent.as_ref()?.ino, name, gone: None })
        });
        self.announce(stale.collect());
    }
}

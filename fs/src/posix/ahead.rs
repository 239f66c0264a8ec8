//! Loading directories ahead of who walks through a tree.
//!
//! Whoever lists a directory, and then one in it, is likely to list those that follow. They are loaded in the background
//! meanwhile, with their entries, which stay for a while though nobody refers to them yet. So do the entries of a large directory
//! for which there was no room in an answer.

use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};

use crate::posix::{FileSystem, Kind, inode::Inode};

/// How many directories are loaded ahead: of those in the one that is listed, and of those that follow it.
const DIRECTORIES: usize = 8;
/// Among how many entries they are looked for.
const REACH: usize = 256;
/// How many entries that were loaded ahead are kept, at most: some kilobytes each.
const ENTRIES: usize = 2048;
/// How many directories were listed lately.
const LATELY: usize = 64;

/// How long those who load are waited for at the end.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was, and is, loaded ahead.
#[derive(Default)]
pub(super) struct Ahead {
    state: Mutex<State>,
    /// Held by those who load.
    loading: RwLock<()>,
    /// Nobody is to load any more.
    is_closed: AtomicBool,
}

#[derive(Default)]
struct State {
    listed: VecDeque<u64>,
    under_way: HashSet<u64>,
    kept: VecDeque<Arc<Inode>>,
}

impl Ahead {
    /// Notes that a directory is listed from its start. Whether its parent was lately.
    fn is_walk(&self, directory: &Inode) -> bool {
        let parent = directory.state.lock().parent.as_ref().map(|parent| parent.ino);
        let state = &mut *self.state.lock();
        if !state.listed.contains(&directory.ino) {
            state.listed.truncate(LATELY - 1);
            state.listed.push_front(directory.ino);
        }
        parent.is_some_and(|parent| state.listed.contains(&parent))
    }

    /// Lets nobody begin to load, and waits for those who do, so that nobody else has the file system; not for long, since
    /// they may wait for a server. What is kept goes.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        drop(self.loading.try_write_for(PATIENCE));
        let kept = std::mem::take(&mut self.state.lock().kept);
        drop(kept);
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    /// Keeps entries. Returns those that are to go in their stead.
    fn keep(&self, entries: impl Iterator<Item = Arc<Inode>>) -> Vec<Arc<Inode>> {
        let kept = &mut self.state.lock().kept;
        kept.extend(entries);
        let excess = kept.len().saturating_sub(ENTRIES);
        kept.drain(..excess).collect()
    }
}

/// A directory is being loaded ahead; others need not.
struct Claim<'a> {
    ahead: &'a Ahead,
    ino: u64,
}

impl<'a> Claim<'a> {
    /// None if somebody else loads it.
    fn on(ahead: &'a Ahead, ino: u64) -> Option<Self> {
        let is_first = ahead.state.lock().under_way.insert(ino);
        // not made in vain: dropped, it would give up that of the other
        is_first.then(|| Self { ahead, ino })
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.ahead.state.lock().under_way.remove(&self.ino);
    }
}

impl FileSystem {
    /// To be called when the listing of a directory begins: has those that are likely to follow loaded.
    pub(super) fn load_ahead(&self, directory: &Arc<Inode>) {
        if !self.ahead.is_walk(directory) || self.is_offline() {
            return;
        }
        let (ahead, fs, directory) = (self.ahead.clone(), self.weak.clone(), directory.clone());
        self.fetchers.spawn(move || {
            // held for longer than the file system is
            let _loading = ahead.loading.read();
            if !ahead.is_closed()
                && let Some(fs) = fs.upgrade()
            {
                fs.load_those_after(directory);
            }
        });
    }

    fn load_those_after(&self, directory: Arc<Inode>) {
        let (parent, name) = {
            let state = directory.state.lock();
            (state.parent.clone(), state.properties.name.clone())
        };
        let following = parent.map(|parent| self.directories_in(&parent, Some(&name))).unwrap_or_default();
        for inode in self.directories_in(&directory, None).into_iter().chain(following) {
            let Some(_claim) = Claim::on(&self.ahead, inode.ino) else { continue };
            if self.ahead.is_closed() {
                return;
            }
            if inode.state.lock().dir.is_some() {
                continue;
            }
            // who lists it meets the error again
            let Ok(_loaded) = self.load_dir(&inode) else { continue };
            self.keep_for_a_while(self.first_entries(&inode).unwrap_or_default().into_iter());
        }
    }

    /// Keeps entries that nobody refers to, in place of others.
    pub(super) fn keep_for_a_while(&self, entries: impl Iterator<Item = Arc<Inode>>) {
        // whoever gives up the last reference drops the others
        let is_unused = |inode: &Arc<Inode>| inode.lookups.load(Ordering::Relaxed) == 0;
        for old in self.ahead.keep(entries.filter(is_unused)).into_iter().filter(is_unused) {
            self.inodes.drop_unused(old);
        }
    }

    /// Directories among the first children of one that is loaded, or among those that follow one of them.
    fn directories_in(&self, directory: &Inode, after: Option<&str>) -> Vec<Arc<Inode>> {
        let state = directory.state.lock();
        let Some(children) = &state.dir else { return Vec::new() };
        let cookie = after.and_then(|name| children.get(name)).map_or(0, |child| child.cookie);
        let directories = children.after(cookie).take(REACH).filter(|(_, child)| child.link.kind() == Kind::Directory);
        let numbers: Vec<_> = directories.map(|(_, child)| child.ino).take(DIRECTORIES).collect();
        drop(state);
        // the others are not in use
        numbers.into_iter().filter_map(|ino| self.inodes.get(ino)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use crate::posix::{
        Caller,
        build::tests::{open, sign_up},
        inode::ROOT,
    };

    #[test]
    fn nothing_is_loaded_for_a_directory_that_was_dropped_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let (node, account) = sign_up(dir.path());
        let fs = open(&node, &account);
        let caller = Caller { uid: 0, gid: 0, umask: 0 };
        let made = fs.mkdir(ROOT, OsStr::new("d"), 0o700, caller).unwrap().ino;
        fs.mkdir(made, OsStr::new("in it"), 0o700, caller).unwrap();
        fs.shutdown().unwrap();
        drop(fs);

        let fs = open(&node, &account);
        let look = || fs.inodes.get(fs.lookup(ROOT, OsStr::new("d")).unwrap().ino).unwrap();
        let found = look();
        let _listed = fs.load_dir(&found).unwrap();
        fs.forget(found.ino, 1);
        assert!(!fs.inodes.has(&found) && fs.first_entries(&found).unwrap().is_empty());
        assert_eq!(fs.inodes.len(), 1, "only the root");
        let again = look();
        assert_eq!(fs.first_entries(&again).unwrap().len(), 1);
        fs.shutdown().unwrap();
    }
}

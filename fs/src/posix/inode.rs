//! Inodes: what the kernel knows by number.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use peergos_crypto::{cbor::Value, signing::KeyHash};
use sha2::{Digest, Sha256};

use crate::{
    Result,
    capability::{MapKey, RelativeCapability},
    commit::Keep,
    cryptree::Properties,
    error::errno,
    posix::{Kind, crowd::Crowd, dir::Dir, unload::Lists},
    space::Signer,
    tree::Keys,
    writeback::Content,
};

/// The inode number of the root.
pub(super) const ROOT: u64 = 1;

/// One entry that is in use, or whose changes are not committed.
pub(super) struct Inode {
    /// Its number.
    pub ino: u64,
    /// What it is.
    pub kind: Kind,
    /// References that the kernel holds.
    pub lookups: AtomicU64,
    /// Open handles.
    pub opens: AtomicU32,
    /// Who relies on its children being loaded.
    pub users: AtomicU32,
    /// The second of the uptime by which the kernel was last told that a name is not in it, where that matters; or 0.
    pub denied: AtomicU64,
    /// How many inodes name this one as their parent.
    pub children: AtomicUsize,
    /// The last group that changed it.
    pub group: AtomicU64,
    /// The last file of the journal that says where it is.
    pub known_in: AtomicU64,
    /// Everything but the content.
    pub state: Mutex<State>,
    /// Of files and symlinks, the content. Locked after `state`, where both are.
    pub content: Option<Mutex<Content>>,
}

/// What an inode is apart from its content. What few have is boxed: there are many inodes.
pub(super) struct State {
    /// What addresses and opens it.
    pub keys: Arc<Keys>,
    /// Its properties; size and modification time of a file are with its content.
    pub properties: Properties,
    /// The `posix` map as the node has it: what differs is what we changed.
    pub stored_posix: Option<Value>,
    /// The directory it is in; none for the root, and for what is unlinked.
    pub parent: Option<Arc<Inode>>,
    /// Last access.
    pub atime: SystemTime,
    /// Last change of attributes.
    pub ctime: SystemTime,
    /// Whether the node holds it.
    pub stored: bool,
    /// Whether properties or parent link changed since the last freeze.
    pub changed: bool,
    /// Whether its link node must be written too.
    pub link_changed: bool,
    /// Of what is unlinked: the directory that it was in, and who signs for that.
    pub removed_from: Option<Removed>,
    /// The link to the directory that another client moved it to, which is not loaded.
    pub elsewhere: Option<Box<RelativeCapability>>,
    /// Whether it is in the list of what the open group changes.
    pub queued: bool,
    /// Whether it is in the group that is being committed.
    pub flushing: bool,
    /// Why it was left out of the last group, if it was; it is tried again with its next change, or, if there was no room,
    /// with the next group.
    pub left_out: Option<i32>,
    /// What is stored under its name, until it is stored itself: the entry that it replaced by a rename.
    pub replaces: Option<Arc<Inode>>,
    /// What no pointer reaches of its content: it is unlinked, or was left out.
    pub keep: Option<Arc<Keep>>,
    /// Whether it was unlinked.
    pub unlinked: bool,
    /// Whether it belongs to the protocol, and must not be changed through the mount.
    pub protected: bool,
    /// Whether others changed it to what cannot be read: it stays as they have it, and is seen as it was before.
    pub unread: bool,
    /// Of directories: the children, once they are loaded.
    pub dir: Option<Box<Dir>>,
}

impl State {
    /// That of an entry which is in no directory and in no group, and was last changed at `time`.
    pub fn new(keys: Keys, properties: Properties, time: SystemTime) -> Self {
        Self {
            keys: Arc::new(keys),
            properties,
            stored_posix: None,
            parent: None,
            atime: time,
            ctime: time,
            stored: false,
            changed: false,
            link_changed: false,
            removed_from: None,
            elsewhere: None,
            queued: false,
            flushing: false,
            left_out: None,
            replaces: None,
            keep: None,
            unlinked: false,
            protected: false,
            unread: false,
            dir: None,
        }
    }

    /// Whether it is as the node has it, and where that has it.
    pub const fn is_settled(&self) -> bool {
        let is_pending = self.changed || self.link_changed || self.queued || self.flushing || self.left_out.is_some();
        let is_astray = self.unlinked || self.elsewhere.is_some() || self.unread;
        self.stored && !is_pending && !is_astray
    }
}

/// Where something was before it was unlinked.
#[derive(Clone)]
pub(super) struct Removed {
    /// The directory.
    pub from: Arc<Inode>,
    /// Signs for the directory.
    pub signer: Option<Signer>,
}

/// The inodes by number.
pub(super) struct Inodes {
    owner: KeyHash,
    /// Numbers of what got other keys since the kernel knows it, and of what took its place.
    renumbered: RwLock<HashMap<MapKey, u64>>,
    table: RwLock<HashMap<u64, Arc<Inode>>>,
    /// Held for reading while an entry is loaded and made an inode. No inode is dropped meanwhile: the load could bring
    /// back what it was before it changed.
    loading: RwLock<()>,
    /// Whether any inode was asked for since [`Inodes::was_used`].
    used: AtomicBool,
    /// Inodes to drop when nothing is being loaded.
    deferred: Mutex<Vec<Arc<Inode>>>,
    /// The files among them, by age.
    pub crowd: Crowd,
    /// The directories among them whose children are loaded.
    pub lists: Lists,
}

/// An entry is being loaded; see [`Inodes::loading`].
pub(super) struct Loading<'a> {
    inodes: &'a Inodes,
    guard: Option<RwLockReadGuard<'a, ()>>,
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        self.guard = None;
        self.inodes.drop_deferred();
    }
}

/// No entry is being loaded; see [`Inodes::loading`].
pub(super) struct Held<'a> {
    inodes: &'a Inodes,
    guard: Option<RwLockWriteGuard<'a, ()>>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.guard = None;
        self.inodes.drop_deferred();
    }
}

impl Inodes {
    /// No inode yet.
    pub fn new(owner: KeyHash) -> Self {
        Self {
            owner,
            renumbered: RwLock::default(),
            table: RwLock::default(),
            loading: RwLock::new(()),
            used: AtomicBool::new(false),
            deferred: Mutex::default(),
            crowd: Crowd::default(),
            lists: Lists::default(),
        }
    }

    /// The inode number of what a child link to `key` addresses: the same at every mount (spec 03 §11.3), unless it got
    /// other keys during this one.
    pub fn number(&self, key: &MapKey) -> u64 {
        let renumbered = self.renumbered.read();
        if !renumbered.is_empty()
            && let Some(number) = renumbered.get(key)
        {
            return *number;
        }
        self.first_number(key)
    }

    /// The inode number of what has had `key` from the beginning.
    pub fn first_number(&self, key: &MapKey) -> u64 {
        let hash = Sha256::new().chain_update(self.owner.cid().to_bytes()).chain_update(key.0).finalize();
        let number = hash.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        // 0 means none and 1 the root
        number.max(2)
    }

    /// Keeps the number of an entry that gets another key.
    pub fn renumber(&self, key: MapKey, number: u64) {
        self.renumbered.write().insert(key, number);
    }

    /// To be held while an entry is loaded and made an inode, or a directory's children are. One who holds it must not
    /// ask for it again.
    pub fn loading(&self) -> Loading<'_> {
        Loading { inodes: self, guard: Some(self.loading.read()) }
    }

    /// Holds off the loading of entries.
    pub fn hold(&self) -> Held<'_> {
        Held { inodes: self, guard: Some(self.loading.write()) }
    }

    /// As [`Inodes::hold`], unless something is being loaded.
    pub fn try_hold(&self) -> Option<Held<'_>> {
        Some(Held { inodes: self, guard: Some(self.loading.try_write()?) })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.table.read().len()
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Inode>> {
        self.table.read().values().cloned().collect()
    }

    /// Whether anybody worked with inodes since the last call.
    pub fn was_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    /// The inode with a number.
    pub fn get(&self, ino: u64) -> Option<Arc<Inode>> {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        self.table.read().get(&ino).cloned()
    }

    /// Whether there is one with a number.
    pub fn is_present(&self, ino: u64) -> bool {
        self.table.read().contains_key(&ino)
    }

    /// Whether this inode is there, and not another with its number.
    pub fn has(&self, inode: &Arc<Inode>) -> bool {
        self.table.read().get(&inode.ino).is_some_and(|known| Arc::ptr_eq(known, inode))
    }

    /// Adds an inode, unless there is one with its number already, which is returned then.
    pub fn insert(&self, inode: Arc<Inode>) -> Arc<Inode> {
        // the table is always locked after a state
        let parent = inode.state.lock().parent.clone();
        let mut table = self.table.write();
        if let Some(known) = table.get(&inode.ino) {
            return known.clone();
        }
        if let Some(parent) = parent {
            parent.children.fetch_add(1, Ordering::Relaxed);
        }
        table.insert(inode.ino, inode.clone());
        drop(table);
        self.crowd.came(&inode);
        inode
    }

    /// The inode with a number, with one more reference of the kernel's.
    pub fn reference(&self, ino: u64) -> Option<Arc<Inode>> {
        let table = self.table.read();
        let inode = table.get(&ino)?;
        inode.lookups.fetch_add(1, Ordering::Relaxed);
        Some(inode.clone())
    }

    /// Drops `lookups` of the kernel's references, and the inode with the last, unless it is needed for other reasons.
    pub fn forget(&self, ino: u64, lookups: u64) {
        let Some(inode) = self.get(ino) else { return };
        let less = |n: u64| Some(n.saturating_sub(lookups));
        let before = inode.lookups.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).unwrap_or(0);
        if before <= lookups {
            self.drop_unused(inode);
        }
    }

    fn drop_deferred(&self) {
        let deferred = std::mem::take(&mut *self.deferred.lock());
        for inode in deferred {
            self.drop_unused(inode);
        }
    }

    /// Drops an inode that nobody refers to, and then its parent if that was kept for its sake.
    pub fn drop_unused(&self, inode: Arc<Inode>) {
        let Some(_no_loads) = self.loading.try_write() else {
            self.deferred.lock().push(inode);
            return;
        };
        let mut next = Some(inode);
        while let Some(inode) = next.take() {
            // the table is always locked after a state
            let state = inode.state.lock();
            let mut table = self.table.write();
            let in_use = inode.ino == ROOT
                || inode.lookups.load(Ordering::Relaxed) > 0
                || inode.is_open()
                || inode.children.load(Ordering::Relaxed) > 0
                || state.queued
                || state.flushing
                || state.left_out.is_some();
            let listed = table.get(&inode.ino).is_some_and(|known| Arc::ptr_eq(known, &inode));
            if in_use || !listed {
                return;
            }
            table.remove(&inode.ino);
            if let Some(parent) = &state.parent {
                parent.children.fetch_sub(1, Ordering::Relaxed);
                next = Some(parent.clone());
            }
        }
    }
}

impl Drop for Inodes {
    fn drop(&mut self) {
        // a directory and an entry in it that is not stored hold each other, and through what is kept for them the node
        for inode in self.table.get_mut().values() {
            inode.state.lock().dir = None;
        }
    }
}

impl Inode {
    /// Checks that no changes are left that could not be saved.
    ///
    /// # Errors
    /// Why they could not.
    pub fn check_saved(&self) -> Result<()> {
        self.state.lock().left_out.map_or(Ok(()), errno)
    }

    /// The keys.
    pub fn keys(&self) -> Arc<Keys> {
        self.state.lock().keys.clone()
    }

    /// Whether anybody has it open.
    pub fn is_open(&self) -> bool {
        self.opens.load(Ordering::Relaxed) > 0
    }

    /// Moves the inode below another directory, or out of the tree.
    pub fn set_parent(&self, state: &mut State, parent: Option<Arc<Inode>>) {
        if let Some(parent) = &parent {
            parent.children.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(old) = std::mem::replace(&mut state.parent, parent) {
            old.children.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

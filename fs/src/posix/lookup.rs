//! From names to inodes, and from entries to inodes.

use std::{
    ffi::OsStr,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, AtomicUsize},
    },
};

use parking_lot::Mutex;

use crate::{
    Error, Result,
    error::errno,
    posix::{
        Attr, FileSystem, Kind, attr,
        dir::{Dir, Link},
        inode::{Inode, State},
        names,
        unload::Loaded,
    },
    tree::{self, CHUNK, Entry, content::Locations},
    writeback::{Budget, Content, StoredContent},
};

/// An inode for a loaded entry.
pub(super) fn inode(ino: u64, entry: Entry, parent: Option<&Arc<Inode>>, budget: &Arc<Budget>) -> Inode {
    let Entry { keys, mut properties, .. } = entry;
    // both can be large, and stay where they are stored
    (properties.thumbnail, properties.tree_hash) = (None, None);
    let modified = attr::system_time(properties.modified);
    let kind = Kind::of(&properties);
    let content = (kind != Kind::Directory).then(|| {
        let chunks = properties.size.div_ceil(CHUNK).max(1);
        let stored = StoredContent { size: properties.size, chunks, leaves: None, modified: Some(properties.modified) };
        let first = (keys.cap.map_key, keys.cap.bat.clone());
        let locations = Locations::new(first, properties.stream_secret.clone());
        Content::new(stored, modified, locations, budget)
    });
    let protected = parent.is_some() && properties.hidden || parent.is_some_and(|p| p.state.lock().protected);
    new(
        ino,
        kind,
        content,
        State {
            stored_posix: properties.posix.clone(),
            parent: parent.cloned(),
            stored: true,
            protected,
            ..State::new(keys, properties, modified)
        },
    )
}

/// An inode that nobody knows yet.
pub(super) fn new(ino: u64, kind: Kind, content: Option<Content>, state: State) -> Inode {
    Inode {
        ino,
        kind,
        lookups: AtomicU64::new(0),
        opens: AtomicU32::new(0),
        users: AtomicU32::new(0),
        denied: AtomicU64::new(0),
        children: AtomicUsize::new(0),
        group: AtomicU64::new(0),
        known_in: AtomicU64::new(0),
        state: Mutex::new(state),
        content: content.map(Mutex::new),
    }
}

/// Notes that an entry cannot be read. That the node is out of reach is in the log already.
pub(super) fn unreadable(ino: u64, error: &Error) {
    match error {
        Error::Net(peergos_net::Error::Unreachable { .. }) => tracing::debug!(%error, ino, "an entry cannot be read"),
        _ => tracing::warn!(%error, ino, "an entry cannot be read"),
    }
}

impl FileSystem {
    /// The attributes of the child `name` of a directory, counting a reference of the kernel's; of a child that cannot be
    /// read, what its directory knows.
    ///
    /// # Errors
    /// `ENOENT` if there is no such child or it is hidden, `ENOTDIR`, `EILSEQ`, `ENAMETOOLONG`; `EIO` if the directory
    /// cannot be read.
    pub fn lookup(&self, parent: u64, name: &OsStr) -> Result<Attr> {
        if let Some(found) = self.virtual_entry(parent, name) {
            return found;
        }
        let parent = self.inode(parent)?;
        let name = names::from_os(name)?;
        loop {
            let child = match self.visible_child(&parent, name) {
                Err(error) if error.is_of_one_entry() => {
                    return self.lookup_damaged(&parent, name).ok_or(error);
                }
                child => child?,
            };
            if self.inodes.reference(child.ino).is_some() {
                self.bound_crowd();
                self.bound_lists();
                return Ok(self.attr(&child));
            }
        }
    }

    /// Drops references that the kernel held.
    pub fn forget(&self, ino: u64, lookups: u64) {
        self.inodes.forget(ino, lookups);
        self.damaged.forget(ino, lookups);
    }

    /// The child `name`, unless it is hidden.
    pub(super) fn visible_child(&self, parent: &Arc<Inode>, name: &str) -> Result<Arc<Inode>> {
        let child = self.child(parent, name)?;
        if self.is_hidden(&child) { errno(libc::ENOENT) } else { Ok(child) }
    }

    /// Whether an inode is left out of the view.
    pub(super) fn is_hidden(&self, inode: &Inode) -> bool {
        !self.options.show_hidden && inode.state.lock().properties.hidden
    }

    /// The child `name`, loaded if it is not in use yet.
    pub(super) fn child(&self, parent: &Arc<Inode>, name: &str) -> Result<Arc<Inode>> {
        let find = || -> Result<Option<(u64, Link)>> {
            let state = parent.state.lock();
            let Some(dir) = &state.dir else { return Ok(None) };
            let child = dir.find(name)?.ok_or_else(|| {
                self.deny(parent);
                Error::Errno(libc::ENOENT)
            })?;
            Ok(Some((child.ino, child.link.clone())))
        };
        let mut _loaded = None;
        loop {
            let Some((ino, _)) = find()? else {
                _loaded = Some(self.load_dir(parent)?);
                continue;
            };
            if let Some(inode) = self.inodes.get(ino) {
                return Ok(inode);
            }
            let _loading = self.inodes.loading();
            // it may have moved before loading was allowed
            let Some((ino, link)) = find()? else { continue };
            if let Some(inode) = self.inodes.get(ino) {
                return Ok(inode);
            }
            let link = match link {
                Link::Made(link) => link,
                Link::Pending(inode) => return Ok(self.inodes.insert(inode)),
            };
            let loaded = tree::load_children(&self.drive, &parent.keys(), &[&link]).pop();
            let entry = loaded.unwrap_or(Err(Error::Dangling)).inspect_err(|error| unreadable(ino, error))?;
            return Ok(self.adopt(ino, name, entry, parent));
        }
    }

    /// Makes a loaded entry an inode, under the name that its directory gives it.
    pub(super) fn adopt(&self, ino: u64, name: &str, mut entry: Entry, parent: &Arc<Inode>) -> Arc<Inode> {
        name.clone_into(&mut entry.properties.name);
        self.inodes.insert(Arc::new(inode(ino, entry, Some(parent), &self.budget)))
    }

    /// Loads the children of a directory, if they are not.
    pub(super) fn load_dir<'a>(&self, inode: &'a Arc<Inode>) -> Result<Loaded<'a>> {
        if inode.kind != Kind::Directory {
            return errno(libc::ENOTDIR);
        }
        {
            let state = inode.state.lock();
            if state.dir.is_some() {
                return Ok(Loaded::new(inode, &state));
            }
        }
        let _loading = self.inodes.loading();
        let keys = inode.keys();
        let listing = tree::list(&self.drive, &keys)?;
        let dir = Dir::loaded(listing, |key| self.inodes.number(key));
        self.find_moved(inode, &dir);
        let mut state = inode.state.lock();
        if state.dir.is_none() {
            self.inodes.lists.came(inode, dir.len());
            state.dir = Some(Box::new(dir));
        }
        Ok(Loaded::new(inode, &state))
    }
}

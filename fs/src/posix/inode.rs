//! Inodes: what the kernel knows by number, and the directory entries between them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use peergos_crypto::{bat::Bat, signing::KeyHash};
use sha2::{Digest, Sha256};

use crate::{
    Error, Result,
    capability::{Capability, ChildLink, MapKey},
    cryptree::{Properties, children::MAX_CHILDREN},
    error::errno,
    posix::{Kind, attributes::SYMLINK_MIME},
    space::{Location, Signer},
    tree::{DirChunk, Keys, Listing},
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
    /// How many inodes name this one as their parent.
    pub children: AtomicUsize,
    /// The last group that changed it.
    pub group: AtomicU64,
    /// Everything but the content.
    pub state: Mutex<State>,
    /// Of files and symlinks, the content. Locked after `state`, where both are.
    pub content: Option<Mutex<Content>>,
}

/// What an inode is apart from its content.
pub(super) struct State {
    /// What addresses and opens it.
    pub keys: Arc<Keys>,
    /// Its properties; size and modification time of a file are with its content.
    pub properties: Properties,
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
    /// Of what is unlinked: who signs for the directory that it was in.
    pub removed_from: Option<Signer>,
    /// Whether it is in the list of what the open group changes.
    pub queued: bool,
    /// Whether it is in the group that is being committed.
    pub flushing: bool,
    /// Why it was left out of the last group, if it was; it is tried again with its next change.
    pub left_out: Option<i32>,
    /// Whether it was unlinked.
    pub unlinked: bool,
    /// Whether it belongs to the protocol, and must not be changed through the mount.
    pub protected: bool,
    /// Of directories: the children, once they are loaded.
    pub dir: Option<Dir>,
}

/// The children of a directory.
#[derive(Default)]
pub(super) struct Dir {
    by_name: HashMap<Arc<str>, Child>,
    /// Names in the order of their cookies, which do not change while the directory is loaded.
    order: BTreeMap<u64, Arc<str>>,
    last_cookie: u64,
    chunks: Vec<Chunk>,
}

/// A name in a directory.
pub(super) struct Child {
    /// Its inode number.
    pub ino: u64,
    /// Where in a listing it is.
    pub cookie: u64,
    /// The link to store.
    pub link: Link,
    /// Which chunk of the directory it is in.
    chunk: usize,
}

/// What the directory stores of a child.
#[derive(Clone)]
pub(super) enum Link {
    /// What is stored, or will be with the next commit.
    Made(Arc<ChildLink>),
    /// To be made at the next commit, of this.
    Pending(Arc<Inode>),
}

impl Link {
    /// What kind of thing it is, as far as it tells.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Pending(inode) => inode.kind,
            Self::Made(link) if link.is_dir == Some(true) => Kind::Directory,
            Self::Made(link) if link.mime.as_deref() == Some(SYMLINK_MIME) => Kind::Symlink,
            Self::Made(_) => Kind::File,
        }
    }
}

struct Chunk {
    place: DirChunk,
    /// How many children are in it that have a name of their own.
    count: usize,
    /// Links whose name another child has: left behind by a merge, and kept.
    doubles: Vec<Arc<ChildLink>>,
    dirty: bool,
    flushing: bool,
}

impl Chunk {
    const fn new(place: DirChunk, dirty: bool) -> Self {
        Self { place, count: 0, doubles: Vec::new(), dirty, flushing: false }
    }

    const fn len(&self) -> usize {
        self.count + self.doubles.len()
    }
}

/// A chunk of a directory in a group.
pub(super) struct FrozenChunk<'a> {
    /// Its number.
    pub index: usize,
    /// Where it is stored.
    pub place: DirChunk,
    /// Its children.
    pub children: Vec<(&'a Arc<str>, &'a Child)>,
    /// Links of the same names as other children, to be kept.
    pub doubles: Vec<Arc<ChildLink>>,
}

impl Dir {
    /// The children of a new directory at `cap`, whose next chunk would be at `next`.
    pub fn empty(cap: &Capability, next: Location) -> Self {
        let place = DirChunk { location: (cap.map_key, cap.bat.clone()), next };
        Self { chunks: vec![Chunk::new(place, true)], ..Self::default() }
    }

    /// The children that were listed. Names that no file system takes are left out of the view, and kept in storage.
    pub fn loaded(listing: Listing, ino_of: impl Fn(&MapKey) -> u64) -> Self {
        let chunks = listing.chunks.into_iter().map(|place| Chunk::new(place, false)).collect();
        let mut dir = Self { chunks, ..Self::default() };
        for (chunk, link) in listing.children {
            let (name, ino): (Arc<str>, _) = (link.name.as_str().into(), ino_of(&link.cap.map_key));
            if dir.by_name.contains_key(&name) {
                dir.chunks[chunk].doubles.push(Arc::new(link));
            } else {
                dir.put(name, Child { ino, cookie: 0, link: Link::Made(Arc::new(link)), chunk });
            }
        }
        dir
    }

    /// The child called `name`.
    pub fn get(&self, name: &str) -> Option<&Child> {
        self.by_name.get(name)
    }

    /// Whether there are no children at all, hidden ones included.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty() && self.chunks.iter().all(|chunk| chunk.doubles.is_empty())
    }

    /// The children after `cookie`, in order.
    pub fn after(&self, cookie: u64) -> impl Iterator<Item = (&Arc<str>, &Child)> {
        let later = self.order.range(cookie + 1..);
        later.filter_map(|(_, name)| self.by_name.get(name).map(|child| (name, child)))
    }

    /// Adds a child, in a chunk with room, or a new one at the place kept for it (spec 03 §7.2). The link is made at the
    /// next commit.
    ///
    /// # Errors
    /// Without randomness for the place after a new chunk.
    pub fn insert(&mut self, name: Arc<str>, inode: &Arc<Inode>) -> Result<()> {
        let chunk = self.chunk_with_room()?;
        self.put(name, Child { ino: inode.ino, cookie: 0, link: Link::Pending(inode.clone()), chunk });
        Ok(())
    }

    /// A chunk that takes one more child, marked as changed.
    fn chunk_with_room(&mut self) -> Result<usize> {
        let room = self.chunks.iter().position(|chunk| chunk.len() < MAX_CHILDREN);
        let chunk = match (room, self.chunks.last()) {
            (Some(chunk), _) => chunk,
            (None, last) => {
                let location = last.map(|last| last.place.next.clone());
                let location = location.ok_or(Error::Damaged("a directory without a first chunk"))?;
                let next = (MapKey::generate()?, Some(Bat::generate()?));
                self.chunks.push(Chunk::new(DirChunk { location, next }, true));
                self.chunks.len() - 1
            }
        };
        self.chunks[chunk].dirty = true;
        Ok(chunk)
    }

    /// Spreads the children of chunks that other clients filled beyond what may be written.
    ///
    /// # Errors
    /// Without randomness for the place after a new chunk.
    pub fn spread(&mut self) -> Result<()> {
        while let Some(full) = self.chunks.iter().position(|chunk| chunk.dirty && chunk.len() > MAX_CHILDREN) {
            let mut excess = self.chunks[full].len() - MAX_CHILDREN;
            let names: Vec<Arc<str>> =
                self.by_name.iter().filter(|(_, child)| child.chunk == full).map(|(name, _)| name.clone()).collect();
            if names.is_empty() {
                return Err(Error::Damaged("a directory with hundreds of entries of one name"));
            }
            for name in names {
                if excess == 0 {
                    break;
                }
                excess -= 1;
                let room = self.chunk_with_room()?;
                if let Some(child) = self.by_name.get_mut(&name) {
                    child.chunk = room;
                    self.chunks[full].count -= 1;
                    self.chunks[room].count += 1;
                }
            }
        }
        Ok(())
    }

    fn put(&mut self, name: Arc<str>, mut child: Child) {
        self.last_cookie += 1;
        child.cookie = self.last_cookie;
        if let Some(chunk) = self.chunks.get_mut(child.chunk) {
            chunk.count += 1;
        }
        self.order.insert(child.cookie, name.clone());
        if let Some(old) = self.by_name.insert(name, child) {
            self.order.remove(&old.cookie);
        }
    }

    /// Takes a child out.
    pub fn remove(&mut self, name: &str) -> Option<Child> {
        let child = self.by_name.remove(name)?;
        self.order.remove(&child.cookie);
        if let Some(chunk) = self.chunks.get_mut(child.chunk) {
            chunk.count -= 1;
            chunk.dirty = true;
        }
        Some(child)
    }

    /// Gives a child another name, and its link with it.
    pub fn rename(&mut self, old: &str, new: Arc<str>) {
        let Some(mut child) = self.by_name.remove(old) else { return };
        self.order.remove(&child.cookie);
        if let Link::Made(link) = &child.link {
            child.link = Link::Made(Arc::new(ChildLink { name: new.to_string(), ..ChildLink::clone(link) }));
        }
        if let Some(chunk) = self.chunks.get_mut(child.chunk) {
            chunk.count -= 1;
            chunk.dirty = true;
        }
        self.put(new, child);
    }

    /// Has the link of a child made anew.
    pub fn relink(&mut self, name: &str, inode: &Arc<Inode>) {
        if let Some(child) = self.by_name.get_mut(name) {
            child.link = Link::Pending(inode.clone());
            if let Some(chunk) = self.chunks.get_mut(child.chunk) {
                chunk.dirty = true;
            }
        }
    }

    /// Has the chunk of a child written with the next commit.
    pub fn touch(&mut self, name: &str) {
        if let Some(child) = self.by_name.get(name)
            && matches!(child.link, Link::Pending(_))
            && let Some(chunk) = self.chunks.get_mut(child.chunk)
        {
            chunk.dirty = true;
        }
    }

    /// The link that was made for a child.
    pub fn linked(&mut self, name: &str, ino: u64, link: Arc<ChildLink>) {
        if let Some(child) = self.by_name.get_mut(name)
            && child.ino == ino
            && matches!(child.link, Link::Pending(_))
        {
            child.link = Link::Made(link);
        }
    }

    /// The chunks that changed since the last freeze, with number and place, and the children of each. They belong to
    /// the group that is being committed from here on.
    pub fn freeze(&mut self) -> Vec<FrozenChunk<'_>> {
        let mut frozen: Vec<FrozenChunk<'_>> = Vec::new();
        let mut index_of = vec![None; self.chunks.len()];
        for (index, chunk) in self.chunks.iter_mut().enumerate().filter(|(_, chunk)| chunk.dirty) {
            chunk.dirty = false;
            chunk.flushing = true;
            index_of[index] = Some(frozen.len());
            let (place, doubles) = (chunk.place.clone(), chunk.doubles.clone());
            frozen.push(FrozenChunk { index, place, doubles, children: Vec::with_capacity(chunk.count) });
        }
        for (name, child) in &self.by_name {
            if let Some(Some(at)) = index_of.get(child.chunk) {
                frozen[*at].children.push((name, child));
            }
        }
        frozen
    }

    /// Whether any chunk changed since the last freeze.
    pub fn is_dirty(&self) -> bool {
        self.chunks.iter().any(|chunk| chunk.dirty)
    }

    /// The group is committed, or not.
    pub fn settle(&mut self, committed: bool) {
        for chunk in &mut self.chunks {
            let flushing = std::mem::take(&mut chunk.flushing);
            chunk.dirty |= flushing && !committed;
        }
    }

    /// The names of all children.
    pub fn names(&self) -> Vec<Arc<str>> {
        self.by_name.keys().cloned().collect()
    }

    /// Puts all children, which `inodes` has by number, into chunks at new places, the first at `cap`. Returns the old
    /// places.
    ///
    /// # Errors
    /// `EXDEV` if there are links that have no inode; as [`Dir::insert`].
    pub fn rebuild(
        &mut self,
        cap: &Capability,
        next: Location,
        inodes: &HashMap<u64, Arc<Inode>>,
    ) -> Result<Vec<Location>> {
        if self.chunks.iter().any(|chunk| !chunk.doubles.is_empty()) {
            return errno(libc::EXDEV);
        }
        let mut rebuilt = Self { last_cookie: self.last_cookie, ..Self::empty(cap, next) };
        for (name, child) in self.order.values().filter_map(|name| Some((name, self.by_name.get(name)?))) {
            let inode = inodes.get(&child.ino).ok_or(Error::Errno(libc::EAGAIN))?;
            rebuilt.insert(name.clone(), inode)?;
        }
        let old = self.locations().cloned().collect();
        *self = rebuilt;
        Ok(old)
    }

    /// Where the chunks are stored.
    pub fn locations(&self) -> impl Iterator<Item = &Location> {
        self.chunks.iter().map(|chunk| &chunk.place.location)
    }
}

/// The inodes by number.
pub(super) struct Inodes {
    owner: KeyHash,
    table: RwLock<HashMap<u64, Arc<Inode>>>,
    /// Held for reading while an entry is loaded and made an inode. No inode is dropped meanwhile: the load could bring
    /// back what it was before it changed.
    loading: RwLock<()>,
    /// Inodes to drop when nothing is being loaded.
    deferred: Mutex<Vec<Arc<Inode>>>,
}

/// An entry is being loaded; see [`Inodes::loading`].
pub(super) struct Loading<'a> {
    inodes: &'a Inodes,
    guard: Option<RwLockReadGuard<'a, ()>>,
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        self.guard = None;
        let deferred = std::mem::take(&mut *self.inodes.deferred.lock());
        for inode in deferred {
            self.inodes.drop_unused(inode);
        }
    }
}

impl Inodes {
    /// No inode yet.
    pub fn new(owner: KeyHash) -> Self {
        Self { owner, table: RwLock::default(), loading: RwLock::new(()), deferred: Mutex::default() }
    }

    /// The inode number of what a child link to `key` addresses: the same at every mount (spec 03 §11.3).
    pub fn number(&self, key: &MapKey) -> u64 {
        let hash = Sha256::new().chain_update(self.owner.cid().to_bytes()).chain_update(key.0).finalize();
        let number = hash.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        // 0 means none and 1 the root
        number.max(2)
    }

    /// To be held while an entry is loaded and made an inode.
    pub fn loading(&self) -> Loading<'_> {
        Loading { inodes: self, guard: Some(self.loading.read()) }
    }

    /// The inode with a number.
    pub fn get(&self, ino: u64) -> Option<Arc<Inode>> {
        self.table.read().get(&ino).cloned()
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
                || inode.opens.load(Ordering::Relaxed) > 0
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

impl Inode {
    /// Whether nothing of it waits to be committed.
    pub fn is_settled(&self) -> bool {
        let state = self.state.lock();
        !state.queued && !state.flushing
    }

    /// The keys.
    pub fn keys(&self) -> Arc<Keys> {
        self.state.lock().keys.clone()
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

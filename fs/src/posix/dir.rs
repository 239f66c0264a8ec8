//! The children of a directory in memory: names, and the chunks that they are stored in (spec 03 §3.9). What we changed
//! is put on top of what others did in [`rebase`].

mod rebase;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use peergos_crypto::bat::Bat;

use crate::{
    Error, Result,
    capability::{Capability, ChildLink, MapKey},
    cryptree::children::MAX_CHILDREN,
    error::errno,
    posix::{Kind, inode::Inode, names},
    space::Location,
    tree::{DirChunk, Listing},
};

pub(super) use rebase::Fate;

/// The children of a directory.
#[derive(Default)]
pub(super) struct Dir {
    by_name: HashMap<Arc<str>, Child>,
    /// Names in the order of their cookies, which do not change while the directory is loaded.
    order: BTreeMap<u64, Arc<str>>,
    last_cookie: u64,
    /// How many of the children are directories.
    subdirectories: usize,
    chunks: Vec<Chunk>,
    /// Whether there are children that cannot be read: a chunk is damaged.
    incomplete: bool,
    /// What the open group does to names, and the one that is being committed.
    changes: Names,
    flushing: Names,
}

/// Names that we changed, each with the inode number of the child that had it before; none if nobody had.
type Names = HashMap<Arc<str>, Option<u64>>;

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

impl Child {
    /// The label of what is stored; none of what is not, or is stored elsewhere.
    pub fn label(&self) -> Option<MapKey> {
        match &self.link {
            Link::Made(link) => Some(link.cap.map_key),
            Link::Pending(_) => None,
        }
    }
}

impl Link {
    /// The same link under another name.
    fn named(self, name: &str) -> Self {
        match self {
            Self::Made(link) => Self::Made(Arc::new(ChildLink { name: name.to_owned(), ..ChildLink::clone(&link) })),
            pending => pending,
        }
    }

    /// What kind of thing it is, as far as it tells.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Pending(inode) => inode.kind,
            Self::Made(link) if link.is_dir == Some(true) => Kind::Directory,
            Self::Made(link) => Kind::of_mime(link.mime.as_deref().unwrap_or_default()),
        }
    }
}

struct Chunk {
    place: DirChunk,
    /// How many children are in it.
    count: usize,
    dirty: bool,
    flushing: bool,
}

impl Chunk {
    const fn new(place: DirChunk, dirty: bool) -> Self {
        Self { place, count: 0, dirty, flushing: false }
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
}

impl Dir {
    /// The children of a new directory at `cap`, whose next chunk would be at `next`.
    pub fn empty(cap: &Capability, next: Location) -> Self {
        let place = DirChunk { location: (cap.map_key, cap.bat.clone()), next };
        Self { chunks: vec![Chunk::new(place, true)], ..Self::default() }
    }

    /// The children that were listed. Names that no file system takes are left out of the view, and kept in storage. Of
    /// several children of one name, which a merge leaves behind, all but the first get names of their own, which are
    /// stored when the directory next changes.
    pub fn loaded(listing: Listing, ino_of: impl Fn(&MapKey) -> u64) -> Self {
        let chunks = listing.chunks.into_iter().map(|place| Chunk::new(place, false)).collect();
        let mut dir = Self { chunks, incomplete: listing.is_damaged, ..Self::default() };
        let mut doubles = Vec::new();
        for (chunk, link) in listing.children {
            if dir.by_name.contains_key(link.name.as_str()) {
                doubles.push((chunk, link));
            } else {
                let ino = ino_of(&link.cap.map_key);
                dir.put(link.name.as_str().into(), Child { ino, cookie: 0, link: Link::Made(Arc::new(link)), chunk });
            }
        }
        for (chunk, mut link) in doubles {
            link.name = names::conflicting(&link.name, |name| dir.by_name.contains_key(name));
            let ino = ino_of(&link.cap.map_key);
            dir.chunks[chunk].dirty = true;
            let name: Arc<str> = link.name.as_str().into();
            dir.changing(&name);
            dir.put(name, Child { ino, cookie: 0, link: Link::Made(Arc::new(link)), chunk });
        }
        dir
    }

    /// To be called before a name gets another child, or none.
    fn changing(&mut self, name: &Arc<str>) {
        if !self.changes.contains_key(name) {
            let before = self.by_name.get(name).map(|child| child.ino);
            self.changes.insert(name.clone(), before);
        }
    }

    /// The child called `name`.
    pub fn get(&self, name: &str) -> Option<&Child> {
        self.by_name.get(name)
    }

    /// The child called `name`, if there is one.
    ///
    /// # Errors
    /// `EIO` if that cannot be told.
    pub fn find(&self, name: &str) -> Result<Option<&Child>> {
        match self.get(name) {
            None => self.check_complete().map(|()| None),
            child => Ok(child),
        }
    }

    /// `EIO` if there are children that cannot be read.
    pub fn check_complete(&self) -> Result<()> {
        if self.incomplete { errno(libc::EIO) } else { Ok(()) }
    }

    /// Whether no children can be reached, hidden ones included.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// How many children there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether all is as the node has it, and readable.
    pub fn is_settled(&self) -> bool {
        let is_changed = !self.changes.is_empty() || !self.flushing.is_empty();
        let is_written = |chunk: &Chunk| !chunk.dirty && !chunk.flushing;
        let is_made = |child: &Child| matches!(child.link, Link::Made(_));
        !self.incomplete && !is_changed && self.chunks.iter().all(is_written) && self.by_name.values().all(is_made)
    }

    /// How many of the children are directories.
    pub const fn subdirectories(&self) -> usize {
        self.subdirectories
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
    /// Without randomness for the place after a new chunk; `EIO` if a chunk is damaged.
    pub fn insert(&mut self, name: Arc<str>, inode: &Arc<Inode>) -> Result<()> {
        self.add(name, inode.ino, Link::Pending(inode.clone()))
    }

    fn add(&mut self, name: Arc<str>, ino: u64, link: Link) -> Result<()> {
        let chunk = self.chunk_with_room()?;
        self.changing(&name);
        self.put(name, Child { ino, cookie: 0, link, chunk });
        Ok(())
    }

    /// Adds a child with the link that it is to have.
    ///
    /// # Errors
    /// As [`Dir::insert`].
    pub fn insert_link(&mut self, ino: u64, link: ChildLink) -> Result<()> {
        self.add(link.name.as_str().into(), ino, Link::Made(Arc::new(link)))
    }

    /// A chunk that takes one more child, marked as changed.
    fn chunk_with_room(&mut self) -> Result<usize> {
        // a chunk that cannot be read has room only seemingly, and the place for a new one may be taken
        self.check_complete()?;
        let room = self.chunks.iter().position(|chunk| chunk.count < MAX_CHILDREN);
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

    /// Spreads the children of changed chunks that other clients filled beyond what may be written.
    ///
    /// # Errors
    /// Without randomness for the place after a new chunk.
    pub fn spread(&mut self) -> Result<()> {
        while let Some(full) = self.chunks.iter().position(|chunk| chunk.dirty && chunk.count > MAX_CHILDREN) {
            let excess = self.chunks[full].count - MAX_CHILDREN;
            let names = self.by_name.iter().filter(|(_, child)| child.chunk == full).map(|(name, _)| name.clone());
            for name in names.take(excess).collect::<Vec<_>>() {
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
        self.subdirectories += usize::from(child.link.kind() == Kind::Directory);
        self.order.insert(child.cookie, name.clone());
        if let Some(old) = self.by_name.insert(name, child) {
            self.order.remove(&old.cookie);
            self.subdirectories -= usize::from(old.link.kind() == Kind::Directory);
        }
    }

    /// Takes out what [`Dir::put`] put in.
    fn take(&mut self, name: &str) -> Option<Child> {
        let child = self.by_name.remove(name)?;
        self.order.remove(&child.cookie);
        self.subdirectories -= usize::from(child.link.kind() == Kind::Directory);
        if let Some(chunk) = self.chunks.get_mut(child.chunk) {
            chunk.count -= 1;
            chunk.dirty = true;
        }
        Some(child)
    }

    /// Takes a child out.
    pub fn remove(&mut self, name: &str) -> Option<Child> {
        let (name, _) = self.by_name.get_key_value(name)?;
        let name = name.clone();
        self.changing(&name);
        self.take(&name)
    }

    /// Gives a child another name, and its link with it.
    pub fn rename(&mut self, old: &str, new: Arc<str>) {
        let Some((old, _)) = self.by_name.get_key_value(old) else { return };
        let old = old.clone();
        self.changing(&old);
        self.changing(&new);
        let Some(mut child) = self.take(&old) else { return };
        child.link = child.link.named(&new);
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

    /// Has a child that was not saved written with the next commit. Until then the name stands for `instead`.
    pub fn not_saved(&mut self, name: &Arc<str>, ino: u64, instead: Option<u64>) {
        if let Some(child) = self.by_name.get(name)
            && child.ino == ino
            && matches!(child.link, Link::Pending(_))
            && let Some(chunk) = self.chunks.get_mut(child.chunk)
        {
            chunk.dirty = true;
            self.changes.insert(name.clone(), instead);
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
        self.flushing = std::mem::take(&mut self.changes);
        let mut frozen: Vec<FrozenChunk<'_>> = Vec::new();
        let mut index_of = vec![None; self.chunks.len()];
        for (index, chunk) in self.chunks.iter_mut().enumerate().filter(|(_, chunk)| chunk.dirty) {
            chunk.dirty = false;
            chunk.flushing = true;
            index_of[index] = Some(frozen.len());
            let place = chunk.place.clone();
            frozen.push(FrozenChunk { index, place, children: Vec::with_capacity(chunk.count) });
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
        let flushed = std::mem::take(&mut self.flushing);
        if !committed {
            self.changes.extend(flushed);
        }
    }

    /// Has children count as new whatever becomes of their directory until it is stored.
    pub fn insist(&mut self, is_kept: impl Fn(u64) -> bool) {
        let kept = self.by_name.iter().filter(|(_, child)| is_kept(child.ino));
        self.changes.extend(kept.map(|(name, _)| (name.clone(), None)));
    }

    /// Whether the open group changes what `name` stands for.
    pub fn is_changed(&self, name: &str) -> bool {
        self.changes.contains_key(name)
    }

    /// The children with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Child)> {
        self.by_name.iter()
    }

    /// Has all chunks written with the next commit.
    pub fn rewrite(&mut self) {
        self.chunks.iter_mut().for_each(|chunk| chunk.dirty = true);
    }

    /// Whether there are children that no commit has brought to the node.
    pub fn has_new(&self) -> bool {
        self.changes.keys().any(|name| self.by_name.contains_key(name))
    }

    /// The names of all children.
    pub fn names(&self) -> Vec<Arc<str>> {
        self.by_name.keys().cloned().collect()
    }

    /// Puts all children, which `inodes` has by number, into chunks at new places, the first at `cap`. Returns the old
    /// places.
    ///
    /// # Errors
    /// `EAGAIN` if there is a child that has no inode; as [`Dir::insert`].
    pub fn rebuild(
        &mut self,
        cap: &Capability,
        next: Location,
        inodes: &HashMap<u64, Arc<Inode>>,
    ) -> Result<Vec<Location>> {
        let mut rebuilt = Self { last_cookie: self.last_cookie, ..Self::empty(cap, next) };
        for (name, child) in self.order.values().filter_map(|name| Some((name, self.by_name.get(name)?))) {
            let inode = inodes.get(&child.ino).ok_or(Error::Errno(libc::EAGAIN))?;
            rebuilt.insert(name.clone(), inode)?;
        }
        let old = self.locations().cloned().collect();
        // the names are the same
        (rebuilt.changes, rebuilt.flushing) = (std::mem::take(&mut self.changes), std::mem::take(&mut self.flushing));
        *self = rebuilt;
        Ok(old)
    }

    /// Where chunks are stored, and where the next one would be.
    pub fn all_locations(&self) -> impl Iterator<Item = &Location> {
        self.locations().chain(self.chunks.last().map(|last| &last.place.next))
    }

    /// Where the chunks are stored.
    pub fn locations(&self) -> impl Iterator<Item = &Location> {
        self.chunks.iter().map(|chunk| &chunk.place.location)
    }
}

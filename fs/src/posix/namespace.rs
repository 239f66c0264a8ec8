//! Changes of the tree: create, mkdir, symlink, unlink, rmdir, rename (spec 03 §7).

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::SystemTime,
};

use parking_lot::{Mutex, MutexGuard};
use peergos_crypto::bat::Bat;

use crate::{
    Error, Result,
    capability::MapKey,
    cryptree::{DirectoryKeys, FileKeys, Properties, mime},
    error::errno,
    journal::{Made, Record},
    posix::{
        Attr, Caller, FileSystem, Kind, attr,
        attributes::set_device,
        dir::Dir,
        inode::{Inode, ROOT, Removed, State},
        lookup, names, noted,
    },
    space::Signer,
    tree::{Keys, content::Locations},
    writeback::{Content, MIME_HEAD, StoredContent},
};

/// The longest target of a symbolic link in bytes, as the kernel has it.
const MAX_TARGET: usize = libc::PATH_MAX as usize - 1;

/// What to make.
struct New<'a> {
    kind: Kind,
    mode: u32,
    rdev: u32,
    content: &'a [u8],
}

impl New<'_> {
    const fn of(kind: Kind, mode: u32) -> Self {
        Self { kind, mode, rdev: 0, content: b"" }
    }
}

impl FileSystem {
    /// Makes a directory.
    ///
    /// # Errors
    /// `EEXIST` (also where a hidden entry has the name), `EROFS`, `EPERM`, `EACCES`, `EILSEQ`, `ENAMETOOLONG`.
    pub fn mkdir(&self, parent: u64, name: &OsStr, mode: u32, caller: Caller) -> Result<Attr> {
        let inode = self.make(parent, name, New::of(Kind::Directory, mode), caller)?;
        Ok(self.attr(&inode))
    }

    /// Makes and opens a regular file; returns its attributes and a handle.
    ///
    /// # Errors
    /// As [`FileSystem::mkdir`].
    pub fn create(&self, parent: u64, name: &OsStr, mode: u32, flags: i32, caller: Caller) -> Result<(Attr, u64)> {
        let inode = self.make(parent, name, New::of(Kind::File, mode), caller)?;
        let handle = self.handles.open(&inode, flags);
        Ok((self.attr(&inode), handle))
    }

    /// Makes a regular file, pipe, socket or device, the latter with the number `rdev`. The kernel does the rest of what
    /// they are: stored is only that they are there.
    ///
    /// # Errors
    /// `EINVAL` for other kinds; as [`FileSystem::mkdir`].
    pub fn mknod(&self, parent: u64, name: &OsStr, mode: u32, rdev: u32, caller: Caller) -> Result<Attr> {
        let kind = Kind::of_mode(mode).ok_or(Error::Errno(libc::EINVAL))?;
        let inode = self.make(parent, name, New { rdev, ..New::of(kind, mode) }, caller)?;
        Ok(self.attr(&inode))
    }

    /// Makes a symbolic link: a small file with the mime type `inode/symlink` whose content is the target.
    ///
    /// # Errors
    /// `ENAMETOOLONG` for the target; as [`FileSystem::mkdir`].
    pub fn symlink(&self, parent: u64, name: &OsStr, target: &Path, caller: Caller) -> Result<Attr> {
        let target = target.as_os_str().as_bytes();
        if target.len() > MAX_TARGET {
            return errno(libc::ENAMETOOLONG);
        }
        let new = New { content: target, ..New::of(Kind::Symlink, 0o777) };
        let inode = self.make(parent, name, new, Caller { umask: 0, ..caller })?;
        Ok(self.attr(&inode))
    }

    /// Makes an entry, counting a reference of the kernel's.
    fn make(&self, parent: u64, name: &OsStr, new: New<'_>, caller: Caller) -> Result<Arc<Inode>> {
        let New { kind, mode, rdev, content } = new;
        let name = names::from_os(name)?;
        let parent = self.inode(parent)?;
        self.check_writable(&parent)?;
        self.check_name(&parent, name)?;
        self.wait_for_queue();
        self.bound_crowd();
        self.bound_lists();
        self.check_room_for_entry()?;
        let now = SystemTime::now();
        let at = attr::protocol_time(now);
        let mut properties = Properties::directory(name, at);
        let (keys, next) = self.new_keys(&parent, kind, &mut properties)?;
        let directory = self.attr(&parent);
        let (mut mode, mut gid) = (mode & !caller.umask, caller.gid);
        if u32::from(directory.perm) & libc::S_ISGID != 0 {
            gid = directory.gid;
            mode |= if kind == Kind::Directory { libc::S_ISGID } else { 0 };
        }
        self.set_owner(&mut properties, kind, mode, caller.uid, gid);
        if kind.is_device() {
            set_device(&mut properties, rdev);
        }
        let Keys { cap, parent_key, data_key, signer, .. } = keys;
        let next = (kind == Kind::Directory).then_some(next);
        let directory = noted::label_of(&parent);
        let made = Made { cap, parent_key, data_key, next, directory, properties, at, content: content.into() };
        let inode = self.new_inode(&made, signer)?;
        inode.state.lock().parent = Some(parent.clone());
        let made = Record::Made(Box::new(made));
        inode.lookups.store(1, Ordering::Relaxed);
        self.making_room(|| self.put(&parent, name, &inode, &made, now))?;
        Ok(inode)
    }

    /// Puts a new entry into its directory.
    fn put(
        &self,
        parent: &Arc<Inode>,
        name: &str,
        inode: &Arc<Inode>,
        made: &Record<'_>,
        now: SystemTime,
    ) -> Result<()> {
        loop {
            let _loaded = self.load_dir(parent)?;
            let _gate = self.gate.change();
            self.introduce(parent)?;
            let mut state = parent.state.lock();
            if state.unlinked {
                return errno(libc::ENOENT);
            }
            let Some(dir) = &mut state.dir else { continue };
            if dir.find(name)?.is_some() {
                return errno(libc::EEXIST);
            }
            self.note_made(inode, made)?;
            dir.insert(name.into(), inode)?;
            self.changed_dir(parent, &mut state, now);
            drop(state);
            self.inodes.lists.grew();
            self.inodes.insert(inode.clone());
            self.mark(inode, &mut inode.state.lock());
            return Ok(());
        }
    }

    /// A new entry that is in no directory yet.
    pub(super) fn new_inode(&self, made: &Made<'_>, signer: Option<Signer>) -> Result<Arc<Inode>> {
        let Made { cap, parent_key, data_key, properties, .. } = made;
        let (now, kind) = (attr::system_time(made.at), Kind::of(properties));
        let content = (kind != Kind::Directory).then(|| {
            let first = (cap.map_key, cap.bat.clone());
            let locations = Locations::new(first, properties.stream_secret.clone());
            Content::new(StoredContent::default(), now, locations, &self.budget)
        });
        let dir = made.next.clone().map(|next| Box::new(Dir::empty(cap, next)));
        let (cap, parent_key, data_key) = (cap.clone(), parent_key.clone(), data_key.clone());
        let ino = self.inodes.number(&cap.map_key);
        let keys = Keys { cap, parent_key, data_key, signer, own_space: false, link: None };
        let inode =
            lookup::new(ino, kind, content, State { changed: true, dir, ..State::new(keys, properties.clone(), now) });
        if let Some(target) = &inode.content
            && !made.content.is_empty()
        {
            // a new file has nothing that would have to be read first
            let mut target = target.lock();
            target.write(0, 0, &made.content, None).map_err(|_| Error::Errno(libc::EIO))?;
            target.modified = now;
        }
        if inode.kind == Kind::Directory {
            self.inodes.lists.came(&inode, 0);
        }
        Ok(Arc::new(inode))
    }

    /// Draws the keys of a new entry, in the space of its directory; completes its properties.
    fn new_keys(
        &self,
        parent: &Inode,
        kind: Kind,
        properties: &mut Properties,
    ) -> Result<(Keys, crate::space::Location)> {
        let parent = parent.keys();
        let (owner, writer) = (&parent.cap.owner, &parent.cap.writer);
        let signer = Some(parent.signer()?.clone());
        let next = (MapKey::generate()?, Some(Bat::generate()?));
        if kind == Kind::Directory {
            let DirectoryKeys { cap, parent_key } = DirectoryKeys::generate(owner, writer)?;
            let data_key = cap.read.clone();
            return Ok((Keys { cap, parent_key, data_key, signer, own_space: false, link: None }, next));
        }
        let FileKeys { cap, data_key, stream_secret } = FileKeys::generate(owner, writer)?;
        properties.is_dir = false;
        properties.stream_secret = Some(stream_secret);
        properties.mime = kind.mime().unwrap_or_else(|| mime::detect(&properties.name, b"")).to_owned();
        let parent_key = cap.read.clone();
        Ok((Keys { cap, parent_key, data_key, signer, own_space: false, link: None }, next))
    }

    /// Whether a new entry in `parent` may be called `name`.
    pub(super) fn check_name(&self, parent: &Inode, name: &str) -> Result<()> {
        if parent.ino == ROOT && names::is_reserved(name) {
            return errno(libc::EPERM);
        }
        Ok(())
    }

    /// Notes that the children of a directory changed.
    pub(super) fn changed_dir(&self, inode: &Arc<Inode>, state: &mut State, now: SystemTime) {
        state.properties.modified = attr::protocol_time(now);
        state.ctime = now;
        state.changed = true;
        self.mark(inode, state);
    }

    /// Removes a file or symlink from its directory. Who has it open can go on reading and writing it.
    ///
    /// # Errors
    /// `ENOENT`, `EISDIR`, `EROFS`, `EPERM` for what belongs to the protocol, `EACCES`.
    pub fn unlink(&self, parent: u64, name: &OsStr) -> Result<()> {
        let (parent, name) = (self.inode(parent)?, names::from_os(name)?);
        let child = match self.visible_child(&parent, name) {
            Err(error) if error.is_of_one_entry() => {
                return self.making_room(|| self.remove_damaged(&parent, name, false));
            }
            child => child?,
        };
        if child.kind == Kind::Directory {
            return errno(libc::EISDIR);
        }
        self.making_room(|| self.remove(&parent, &child, name))
    }

    /// Removes an empty directory, or one of which nothing can be read: there is no way to what was in it then.
    ///
    /// # Errors
    /// `ENOTEMPTY` (also where only hidden entries are left), `ENOTDIR`; as [`FileSystem::unlink`].
    pub fn rmdir(&self, parent: u64, name: &OsStr) -> Result<()> {
        let (parent, name) = (self.inode(parent)?, names::from_os(name)?);
        let child = match self.visible_child(&parent, name) {
            Err(error) if error.is_of_one_entry() => {
                return self.making_room(|| self.remove_damaged(&parent, name, true));
            }
            child => child?,
        };
        if child.kind != Kind::Directory {
            return errno(libc::ENOTDIR);
        }
        let _loaded = self.load_dir(&child)?;
        self.making_room(|| self.remove(&parent, &child, name))
    }

    fn remove(&self, parent: &Arc<Inode>, child: &Arc<Inode>, name: &str) -> Result<()> {
        self.check_writable(parent)?;
        self.check_writable(child)?;
        loop {
            let _loaded = self.load_dir(parent)?;
            let _gate = self.gate.change();
            self.introduce(child)?;
            let mut state = parent.state.lock();
            let from = noted::place(&state.keys, name);
            let Some(dir) = &mut state.dir else { continue };
            if dir.get(name).is_none_or(|found| found.ino != child.ino) {
                return errno(libc::ENOENT);
            }
            let mut child_state = child.state.lock();
            check_empty(child, &child_state)?;
            let (label, now) = (child_state.keys.top().map_key, SystemTime::now());
            self.note(Record::Removed { label, from, at: attr::protocol_time(now) })?;
            dir.remove(name);
            self.changed_dir(parent, &mut state, now);
            self.unlinked(parent, &state, child, &mut child_state);
            return Ok(());
        }
    }

    /// Notes that `child` is no longer in its directory, nor anywhere.
    pub(super) fn unlinked(&self, from: &Arc<Inode>, parent: &State, child: &Arc<Inode>, state: &mut State) {
        self.space.makes_room();
        state.unlinked = true;
        state.ctime = SystemTime::now();
        let signer = parent.keys.signer.clone();
        state.removed_from = Some(Removed { from: from.clone(), signer });
        child.set_parent(state, None);
        self.mark(child, state);
    }

    /// Renames and moves; `flags` are those of renameat2(2), of which `RENAME_NOREPLACE` and
    /// `RENAME_EXCHANGE` are supported. What is damaged takes the place of nothing else.
    ///
    /// # Errors
    /// `EEXIST`, `ENOTEMPTY`, `EISDIR`, `ENOTDIR`, `EINVAL` for a move into itself or an unknown flag; `EXDEV` for what
    /// has, or holds something that has, a writing space of its own, and would leave the one it is in; as [`FileSystem::unlink`].
    pub fn rename(&self, parent: u64, name: &OsStr, new_parent: u64, new_name: &OsStr, flags: u32) -> Result<()> {
        self.making_room(|| self.try_rename(parent, name, new_parent, new_name, flags))
    }

    fn try_rename(&self, parent: u64, name: &OsStr, new_parent: u64, new_name: &OsStr, flags: u32) -> Result<()> {
        let (from, name) = (self.inode(parent)?, names::from_os(name)?);
        let (to, new_name) = (self.inode(new_parent)?, names::from_os(new_name)?);
        match flags {
            0 | libc::RENAME_NOREPLACE => {}
            libc::RENAME_EXCHANGE => return self.exchange((&from, name), (&to, new_name)),
            _ => return errno(libc::EINVAL),
        }
        let child = self.visible_child(&from, name);
        self.check_writable(&from)?;
        self.check_writable(&to)?;
        self.check_name(&to, new_name)?;
        let child = match child {
            Err(error) if error.is_of_one_entry() => return self.rename_damaged(&from, name, &to, new_name),
            child => child?,
        };
        self.check_writable(&child)?;
        let (replaced, damaged) = match self.child(&to, new_name) {
            Ok(replaced) => (Some(replaced), None),
            Err(Error::Errno(libc::ENOENT)) => (None, None),
            Err(error) if error.is_of_one_entry() => (None, Some(self.damaged_child(&to, new_name)?)),
            Err(error) => return Err(error),
        };
        if let Some((_, kind)) = damaged {
            match (child.kind == Kind::Directory, kind == Kind::Directory) {
                _ if flags & libc::RENAME_NOREPLACE != 0 => return errno(libc::EEXIST),
                (true, false) => return errno(libc::ENOTDIR),
                (false, true) => return errno(libc::EISDIR),
                _ => {}
            }
        }
        let mut _replaced_loaded = None;
        if let Some(replaced) = &replaced {
            if flags & libc::RENAME_NOREPLACE != 0 {
                return errno(libc::EEXIST);
            }
            if replaced.ino == child.ino {
                return Ok(());
            }
            if replaced.ino == from.ino {
                // it holds at least the child
                return errno(libc::ENOTEMPTY);
            }
            self.check_writable(replaced)?;
            match (child.kind == Kind::Directory, replaced.kind == Kind::Directory) {
                (true, false) => return errno(libc::ENOTDIR),
                (false, true) => return errno(libc::EISDIR),
                (true, true) => _replaced_loaded = Some(self.load_dir(replaced)?),
                (false, false) => {}
            }
        }
        if child.kind == Kind::Directory && from.ino != to.ino && is_ancestor(&child, &to) {
            return errno(libc::EINVAL);
        }
        let mime = self.mime_after_rename(&child, name, new_name);
        if !self.same_space(&from, &to) {
            let _loaded = self.load_dir(&from)?;
            self.rehome(&child, &to)?;
        }
        loop {
            let _loaded = (self.load_dir(&from)?, self.load_dir(&to)?);
            let _gate = self.gate.change();
            self.introduce(&child)?;
            self.introduce(&to)?;
            replaced.as_ref().map_or(Ok(()), |replaced| self.introduce(replaced))?;
            let label = noted::label_of(&child);
            let (mut from_state, mut to_state) = lock_two(&from, &to);
            let from_place = noted::place(&from_state.keys, name);
            let Some(from_dir) = &from_state.dir else { continue };
            if from_dir.get(name).is_none_or(|found| found.ino != child.ino) {
                return errno(libc::ENOENT);
            }
            let is_moved = to_state.is_some();
            let target = to_state.as_deref_mut().unwrap_or(&mut from_state);
            if target.unlinked {
                return errno(libc::ENOENT);
            }
            let Some(target_dir) = &mut target.dir else { continue };
            if is_moved {
                target_dir.check_complete()?;
            }
            let expected = damaged.map(|(ino, _)| ino).or(replaced.as_ref().map(|replaced| replaced.ino));
            if target_dir.find(new_name)?.map(|found| found.ino) != expected {
                return errno(libc::EAGAIN);
            }
            let mut replaced_state = replaced.as_ref().map(|replaced| (replaced, replaced.state.lock()));
            if let Some((replaced, state)) = &replaced_state {
                check_empty(replaced, state)?;
            }
            let now = SystemTime::now();
            self.note(Record::Moved {
                label,
                from: from_place,
                to: noted::place(&target.keys, new_name),
                replaced: replaced_state.as_ref().map(|(_, state)| state.keys.top().map_key),
                mime: mime.clone(),
                at: attr::protocol_time(now),
            })?;
            let mut replaces = None;
            if let Some((replaced, state)) = &mut replaced_state {
                target_dir.remove(new_name);
                self.unlinked(&to, target, replaced, state);
                replaces = if state.stored { Some((*replaced).clone()) } else { state.replaces.take() };
            }
            drop(replaced_state);
            if damaged.is_some() {
                self.drop_damaged(target, new_name)?;
            }
            let Some(from_dir) = &mut from_state.dir else { continue };
            match &mut to_state {
                None => from_dir.rename(name, new_name.into()),
                Some(to_state) => {
                    if let Some(dir) = &mut to_state.dir {
                        dir.insert(new_name.into(), &child)?;
                    }
                    from_dir.remove(name);
                }
            }
            self.changed_dir(&from, &mut from_state, now);
            if let Some(to_state) = &mut to_state {
                self.changed_dir(&to, to_state, now);
            }
            if mime.is_some() {
                let holder = to_state.as_deref_mut().unwrap_or(&mut from_state);
                if let Some(dir) = &mut holder.dir {
                    dir.relink(new_name, &child);
                }
            }
            let mut state = child.state.lock();
            state.replaces = replaces.filter(|_| child.kind != Kind::Directory);
            self.moved(&child, &mut state, &to, new_name, mime);
            return Ok(());
        }
    }

    /// Whether entries of both directories are in one writing space.
    pub(super) fn same_space(&self, a: &Inode, b: &Inode) -> bool {
        a.keys().cap.writer == b.keys().cap.writer
    }

    /// The mime type under a new name, if that changes it. What cannot be read keeps its type.
    pub(super) fn mime_after_rename(&self, inode: &Arc<Inode>, old: &str, new: &str) -> Option<String> {
        let extension = |name: &str| name.rsplit_once('.').map(|(_, extension)| extension.to_owned());
        if inode.kind != Kind::File || extension(old) == extension(new) {
            return None;
        }
        let head = self.read_at(inode, 0, MIME_HEAD, &Mutex::default()).ok()?;
        let detected = mime::detect(new, &head);
        let state = inode.state.lock();
        (state.properties.mime != detected).then(|| detected.to_owned())
    }
}

/// `ENOTEMPTY` if `inode` is a directory with children.
pub(super) fn check_empty(inode: &Inode, state: &State) -> Result<()> {
    match (inode.kind, &state.dir) {
        (Kind::Directory, Some(dir)) if !dir.is_empty() => errno(libc::ENOTEMPTY),
        (Kind::Directory, None) => errno(libc::EAGAIN),
        _ => Ok(()),
    }
}

/// Whether `inode` is `other`, or above it.
pub(super) fn is_ancestor(inode: &Arc<Inode>, other: &Arc<Inode>) -> bool {
    let mut next = Some(other.clone());
    let mut passed = Vec::new();
    while let Some(current) = next {
        if Arc::ptr_eq(&current, inode) {
            return true;
        }
        if passed.contains(&current.ino) {
            return false;
        }
        passed.push(current.ino);
        next = current.state.lock().parent.clone();
    }
    false
}

/// Locks one directory, or two in the order of their numbers.
pub(super) fn lock_two<'a>(a: &'a Inode, b: &'a Inode) -> (MutexGuard<'a, State>, Option<MutexGuard<'a, State>>) {
    if a.ino == b.ino {
        return (a.state.lock(), None);
    }
    if a.ino < b.ino {
        let first = a.state.lock();
        (first, Some(b.state.lock()))
    } else {
        let first = b.state.lock();
        (a.state.lock(), Some(first))
    }
}

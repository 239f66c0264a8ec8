//! Entries that cannot be read. Their names and kinds, which their directories know, are enough to show them to the
//! kernel, and so to rename and remove them: the kernel does that only to what it can look up. All else gives `EIO`.

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use parking_lot::Mutex;

use crate::{
    Error, Result,
    capability::{ChildLink, RelativeCapability},
    cryptree::Time,
    error::errno,
    journal::Record,
    posix::{
        Attr, FileSystem, Kind, attr,
        departure::Departure,
        dir::{Child, Link},
        inode::{Inode, State},
        namespace::lock_two,
        noted,
    },
};

/// What the kernel refers to and cannot be read, with the number of references.
#[derive(Default)]
pub(super) struct Damaged(Mutex<HashMap<u64, (Attr, u64)>>);

impl Damaged {
    /// The attributes of a damaged entry.
    pub fn get(&self, ino: u64) -> Option<Attr> {
        self.0.lock().get(&ino).map(|(attr, _)| attr.clone())
    }

    /// Whether the kernel refers to none.
    pub fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// Whether the kernel refers to the entry with the inode number `ino` as one that cannot be read.
    pub fn stands_for(&self, ino: u64) -> bool {
        self.0.lock().contains_key(&number(ino))
    }

    fn reference(&self, attr: &Attr) {
        self.0.lock().entry(attr.ino).or_insert_with(|| (attr.clone(), 0)).1 += 1;
    }

    /// Drops references of the kernel's.
    pub fn forget(&self, ino: u64, lookups: u64) {
        let mut table = self.0.lock();
        if let Some((_, references)) = table.get_mut(&ino) {
            *references = references.saturating_sub(lookups);
            if *references == 0 {
                table.remove(&ino);
            }
        }
    }
}

/// The inode number of an entry while it cannot be read. It is another than the entry's own, so that the kernel does not
/// take it for what it knew before, or for what it finds when the entry can be read again.
fn number(ino: u64) -> u64 {
    (!ino).max(2)
}

impl FileSystem {
    /// The attributes of the child `name`, which could not be read, counting a reference of the kernel's. None if nothing
    /// is known of it.
    pub(super) fn lookup_damaged(&self, parent: &Inode, name: &str) -> Option<Attr> {
        self.check_name(parent, name).ok()?;
        let state = parent.state.lock();
        let child = state.dir.as_ref()?.get(name)?;
        let Link::Made(link) = &child.link else { return None };
        let kind = child.link.kind();
        let created = attr::system_time(Time { secs: link.created.unwrap_or(0), nanos: 0 });
        let attr = Attr {
            ino: number(child.ino),
            // it may hold anything, and what removes empty files must not take it for one
            size: u64::from(kind != Kind::Directory),
            atime: created,
            mtime: created,
            ctime: created,
            crtime: created,
            kind,
            perm: kind.default_mode() as u16,
            nlink: 1,
            uid: self.options.uid,
            gid: self.options.gid,
            rdev: 0,
            damaged: true,
        };
        self.damaged.reference(&attr);
        Some(attr)
    }

    /// Removes the child `name`, which could not be read: a directory if `is_dir`, otherwise something else.
    ///
    /// # Errors
    /// `EISDIR`, `ENOTDIR`, `EPERM` for what belongs to the protocol, `EACCES`.
    pub(super) fn remove_damaged(&self, parent: &Arc<Inode>, name: &str, is_dir: bool) -> Result<()> {
        self.check_writable(parent)?;
        self.check_name(parent, name)?;
        loop {
            let _loaded = self.load_dir(parent)?;
            let _gate = self.gate.change();
            self.introduce(parent)?;
            let mut state = parent.state.lock();
            let Some(dir) = &state.dir else { continue };
            let child = dir.get(name).ok_or(Error::Errno(libc::ENOENT))?;
            self.check_damaged(child)?;
            match (is_dir, child.link.kind() == Kind::Directory) {
                (false, true) => return errno(libc::EISDIR),
                (true, false) => return errno(libc::ENOTDIR),
                _ => {}
            }
            let (label, now) = (child.label().ok_or(Error::Errno(libc::EIO))?, SystemTime::now());
            let from = noted::place(&state.keys, name);
            self.note(Record::Removed { label, from, at: attr::protocol_time(now) })?;
            self.drop_damaged(&mut state, name)?;
            self.changed_dir(parent, &mut state, now);
            return Ok(());
        }
    }

    /// Takes a child that cannot be read out of its directory, and has its first node removed. What else is stored of it
    /// cannot be found.
    pub(super) fn drop_damaged(&self, parent: &mut State, name: &str) -> Result<()> {
        let signer = parent.keys.signer()?.clone();
        let removed = parent.dir.as_mut().and_then(|dir| dir.remove(name));
        if let Some(Child { link: Link::Made(link), .. }) = removed
            && link.cap.writer.is_none()
        {
            self.depart(Departure { removals: vec![(signer, link.cap.map_key)], ..Departure::default() });
        }
        Ok(())
    }

    /// Inode number and kind of the child `name`, which could not be read.
    pub(super) fn damaged_child(&self, parent: &Arc<Inode>, name: &str) -> Result<(u64, Kind)> {
        let _loaded = self.load_dir(parent)?;
        let state = parent.state.lock();
        let child = state.dir.as_ref().and_then(|dir| dir.get(name)).ok_or(Error::Errno(libc::EAGAIN))?;
        self.check_damaged(child)?;
        Ok((child.ino, child.link.kind()))
    }

    /// `EIO` if a child is not, or no longer, what could not be read.
    fn check_damaged(&self, child: &Child) -> Result<()> {
        match &child.link {
            Link::Made(_) if self.inodes.get(child.ino).is_none() => Ok(()),
            _ => errno(libc::EIO),
        }
    }

    /// Renames what cannot be read, or moves it within its writing space. Its node keeps the old name and parent.
    ///
    /// # Errors
    /// `EIO` between writing spaces, and where there is something with the new name.
    pub(super) fn rename_damaged(&self, from: &Arc<Inode>, name: &str, to: &Arc<Inode>, new_name: &str) -> Result<()> {
        self.check_name(from, name)?;
        if !self.same_space(from, to) {
            return errno(libc::EIO);
        }
        loop {
            let _loaded = (self.load_dir(from)?, self.load_dir(to)?);
            let _gate = self.gate.change();
            self.introduce(from)?;
            self.introduce(to)?;
            let (mut from_state, mut to_state) = lock_two(from, to);
            let target = to_state.as_deref().unwrap_or(&from_state);
            let (Some(from_dir), Some(to_dir)) = (&from_state.dir, &target.dir) else { continue };
            if target.unlinked {
                return errno(libc::ENOENT);
            }
            let child = from_dir.get(name).ok_or(Error::Errno(libc::ENOENT))?;
            self.check_damaged(child)?;
            let label = child.label().ok_or(Error::Errno(libc::EIO))?;
            if to_dir.get(new_name).is_some() {
                return errno(libc::EIO);
            }
            let (from_place, to_place) = (noted::place(&from_state.keys, name), noted::place(&target.keys, new_name));
            let (now, replaced, mime) = (SystemTime::now(), None, None);
            let at = attr::protocol_time(now);
            self.note(Record::Moved { label, from: from_place, to: to_place, replaced, mime, at })?;
            match &mut to_state {
                None => from_state.dir.iter_mut().for_each(|dir| dir.rename(name, new_name.into())),
                Some(to_state) => self.move_damaged(&mut from_state, name, to_state, new_name)?,
            }
            self.changed_dir(from, &mut from_state, now);
            if let Some(to_state) = &mut to_state {
                self.changed_dir(to, to_state, now);
            }
            return Ok(());
        }
    }

    fn move_damaged(&self, from: &mut State, name: &str, to: &mut State, new_name: &str) -> Result<()> {
        let (Some(from_dir), Some(to_dir)) = (&mut from.dir, &mut to.dir) else { return errno(libc::EIO) };
        let Some(Child { ino, link: Link::Made(link), .. }) = from_dir.get(name) else { return errno(libc::EIO) };
        let cap = RelativeCapability::relativise(&to.keys.cap, &link.cap.absolutise(&from.keys.cap)?)?;
        let link = ChildLink { cap, name: new_name.to_owned(), ..ChildLink::clone(link) };
        to_dir.insert_link(*ino, link)?;
        from_dir.remove(name);
        Ok(())
    }
}

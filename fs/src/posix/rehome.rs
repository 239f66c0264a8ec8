//! Moving entries to another writing space: everything gets new keys there, and leaves its old place (spec 03 §7.12 B).

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use peergos_crypto::bat::Bat;

use crate::{
    Error, Result,
    capability::MapKey,
    cryptree::{DirectoryKeys, FileKeys},
    error::errno,
    posix::{
        FileSystem, Kind,
        departure::Departure,
        inode::{Inode, Inodes},
    },
    tree::Keys,
};

/// Inodes by number.
type ByNumber = HashMap<u64, Arc<Inode>>;

/// A directory and what is below it, none of which is dropped meanwhile.
struct Tree<'a> {
    inodes: &'a Inodes,
    by_number: ByNumber,
}

impl Drop for Tree<'_> {
    fn drop(&mut self) {
        self.by_number.keys().for_each(|ino| self.inodes.forget(*ino, 1));
    }
}

impl FileSystem {
    /// Gives an entry, and all that is below it, keys in the writing space of `directory`.
    ///
    /// # Errors
    /// `EXDEV` where the entry, or one below it, is the root of a writing space of its own; what keeps a file from being
    /// read, or what was changed from being saved. Nothing has changed then.
    pub(super) fn rehome(&self, inode: &Arc<Inode>, directory: &Inode) -> Result<()> {
        // slow, and so before anything is held off
        self.tree(inode)?;
        let _rest = self.rest()?;
        while !self.rehome_at_rest(inode, directory)? {}
        Ok(())
    }

    /// As [`FileSystem::rehome`], at rest. Returns false if another client changed anything meanwhile.
    fn rehome_at_rest(&self, inode: &Arc<Inode>, directory: &Inode) -> Result<bool> {
        let taken_in = self.taken_in.load(Ordering::Relaxed);
        let target = directory.keys();
        let held = self.tree(inode)?;
        let tree = &held.by_number;
        let (owner, writer, signer) = (&target.cap.owner, &target.cap.writer, Some(target.signer()?.clone()));
        let (mut files, mut dirs) = (Vec::new(), Vec::new());
        for inode in tree.values() {
            inode.keys().signer()?;
            let (signer, own_space, link) = (signer.clone(), false, None);
            if inode.kind == Kind::Directory {
                let DirectoryKeys { cap, parent_key } = DirectoryKeys::generate(owner, writer)?;
                let data_key = cap.read.clone();
                dirs.push((inode, Keys { cap, parent_key, data_key, signer, own_space, link }));
            } else {
                let FileKeys { cap, data_key, stream_secret } = FileKeys::generate(owner, writer)?;
                let parent_key = cap.read.clone();
                let keys = Keys { cap, parent_key, data_key, signer, own_space, link };
                files.push(self.rekey(inode, keys, stream_secret)?);
            }
        }
        let _gate = self.gate.close();
        if !self.is_as_it_was(taken_in) {
            return Ok(false);
        }
        let mut departure = Departure { from: inode.state.lock().parent.clone(), ..Departure::default() };
        files.into_iter().for_each(|file| self.replace(file, &mut departure));
        let rekeyed = dirs.into_iter().try_for_each(|(inode, keys)| self.rekey_dir(inode, keys, tree, &mut departure));
        self.depart(departure);
        rekeyed.map(|()| true)
    }

    /// `inode` and all that is below it, by number.
    fn tree(&self, inode: &Arc<Inode>) -> Result<Tree<'_>> {
        let mut tree = Tree { inodes: &self.inodes, by_number: ByNumber::new() };
        let first = self.inodes.reference(inode.ino).ok_or(Error::Errno(libc::ESTALE))?;
        tree.by_number.insert(first.ino, first.clone());
        let mut pending = vec![first];
        while let Some(inode) = pending.pop() {
            let keys = inode.keys();
            if keys.own_space || keys.link.is_some() {
                return errno(libc::EXDEV);
            }
            inode.check_saved()?;
            if inode.kind == Kind::Directory {
                let _loaded = self.load_dir(&inode)?;
                let names = match &inode.state.lock().dir {
                    Some(dir) => dir.check_complete().map(|()| dir.names())?,
                    None => return errno(libc::EAGAIN),
                };
                for name in names {
                    let child = loop {
                        let child = self.child(&inode, &name)?;
                        if let Some(child) = self.inodes.reference(child.ino) {
                            break child;
                        }
                    };
                    tree.by_number.insert(child.ino, child.clone());
                    pending.push(child);
                }
            }
        }
        Ok(tree)
    }

    /// Gives a directory new keys and places; the links to its children, which are in `tree`, are made anew.
    fn rekey_dir(&self, inode: &Arc<Inode>, keys: Keys, tree: &ByNumber, departure: &mut Departure) -> Result<()> {
        let next = (MapKey::generate()?, Some(Bat::generate()?));
        let old = inode.keys();
        let mut state = inode.state.lock();
        let Some(dir) = &mut state.dir else { return errno(libc::EAGAIN) };
        let places = dir.rebuild(&keys.cap, next, tree)?;
        self.inodes.renumber(keys.cap.map_key, inode.ino);
        let old_signer = old.signer()?;
        departure.removals.extend(places.into_iter().map(|(key, _)| (old_signer.clone(), key)));
        departure.entries.push((inode.clone(), old.clone()));
        self.note_relabelled(&old, &keys);
        state.keys = Arc::new(keys);
        state.changed = true;
        self.mark(inode, &mut state);
        drop(state);
        // what is below has a parent with other keys now
        for child in tree.values() {
            let mut state = child.state.lock();
            if state.parent.as_ref().is_some_and(|parent| Arc::ptr_eq(parent, inode)) {
                state.changed = true;
                self.mark(child, &mut state);
            }
        }
        self.relink(inode);
        Ok(())
    }

    /// Has the link of an entry in its directory made anew: its keys have changed.
    pub(super) fn relink(&self, inode: &Arc<Inode>) {
        let (parent, name) = {
            let state = inode.state.lock();
            (state.parent.clone(), state.properties.name.clone())
        };
        let Some(parent) = parent else { return };
        let mut state = parent.state.lock();
        if let Some(dir) = &mut state.dir {
            dir.relink(&name, inode);
        }
        self.mark(&parent, &mut state);
    }
}

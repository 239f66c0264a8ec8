//! Moving entries to another writing space: everything gets new keys there, and leaves its old place (spec 03 §7.12 B).

use std::{collections::HashMap, sync::Arc};

use parking_lot::RwLockWriteGuard;
use peergos_crypto::bat::Bat;

use crate::{
    Result,
    capability::MapKey,
    cryptree::{DirectoryKeys, FileKeys},
    error::errno,
    posix::{FileSystem, Kind, inode::Inode},
    tree::Keys,
};

/// Inodes by number.
type ByNumber = HashMap<u64, Arc<Inode>>;

impl FileSystem {
    /// Gives an entry, and all that is below it, keys in the writing space of `directory`.
    ///
    /// # Errors
    /// `EXDEV` where the entry, or one below it, is the root of a writing space of its own; what keeps a file from being
    /// read. What has its new keys by then keeps them, at its old name.
    pub(super) fn rehome(&self, inode: &Arc<Inode>, directory: &Inode) -> Result<()> {
        let target = directory.keys();
        let (_gate, tree) = self.settled_tree(inode)?;
        for inode in tree.values().filter(|inode| inode.kind != Kind::Directory) {
            let FileKeys { cap, data_key, stream_secret } = FileKeys::generate(&target.cap.owner, &target.cap.writer)?;
            let (signer, parent_key) = (Some(target.signer()?.clone()), cap.read.clone());
            let keys = Keys { cap, parent_key, data_key, signer, own_space: false, link: None };
            self.rekey(inode, &inode.keys(), keys, stream_secret)?;
        }
        for inode in tree.values().filter(|inode| inode.kind == Kind::Directory) {
            self.rekey_dir(inode, &target, &tree)?;
        }
        Ok(())
    }

    /// Holds off all changes, at a moment when nothing of `inode` or below it waits to be committed; with all of them by
    /// number, loaded.
    fn settled_tree(&self, inode: &Arc<Inode>) -> Result<(RwLockWriteGuard<'_, ()>, ByNumber)> {
        loop {
            // slow, and so before anything is held off
            self.tree(inode)?;
            self.sync()?;
            let gate = self.gate.write();
            let tree = self.tree(inode)?;
            let settled: Result<Vec<bool>> = tree.values().map(|inode| inode.is_settled()).collect();
            if settled?.into_iter().all(|settled| settled) {
                return Ok((gate, tree));
            }
        }
    }

    /// `inode` and all that is below it, by number.
    fn tree(&self, inode: &Arc<Inode>) -> Result<ByNumber> {
        let mut tree = ByNumber::new();
        let mut pending = vec![inode.clone()];
        while let Some(inode) = pending.pop() {
            let keys = inode.keys();
            if keys.own_space || keys.link.is_some() {
                return errno(libc::EXDEV);
            }
            if inode.kind == Kind::Directory {
                self.load_dir(&inode)?;
                let names = inode.state.lock().dir.as_ref().map(|dir| dir.names()).unwrap_or_default();
                for name in names {
                    pending.push(self.child(&inode, &name)?);
                }
            }
            tree.insert(inode.ino, inode);
        }
        Ok(tree)
    }

    /// Gives a directory new keys and places; the links to its children, which are in `tree`, are made anew.
    fn rekey_dir(&self, inode: &Arc<Inode>, target: &Keys, tree: &ByNumber) -> Result<()> {
        let DirectoryKeys { cap, parent_key } = DirectoryKeys::generate(&target.cap.owner, &target.cap.writer)?;
        let next = (MapKey::generate()?, Some(Bat::generate()?));
        let data_key = cap.read.clone();
        let signer = Some(target.signer()?.clone());
        let old = inode.keys();
        let mut state = inode.state.lock();
        let Some(dir) = &mut state.dir else { return errno(libc::EAGAIN) };
        let places = dir.rebuild(&cap, next, tree)?;
        let old_signer = old.signer()?;
        self.removals.lock().extend(places.into_iter().map(|(key, _)| (old_signer.clone(), key)));
        state.keys = Arc::new(Keys { cap, parent_key, data_key, signer, own_space: false, link: None });
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

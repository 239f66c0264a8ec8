//! Making the inodes what others made of their entries, with our changes on top.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::SystemTime,
};

use crate::{
    Result,
    posix::{
        FileSystem, attr, attributes,
        departure::Departure,
        dir::{Dir, Fate},
        inode::{Inode, Removed},
        namespace::is_ancestor,
        refresh::{
            Stale,
            judge::Verdicts,
            news::News,
            survey::{Fresh, Survey},
        },
    },
    tree::{CHUNK, Entry, Listing, content::Locations},
    writeback::StoredContent,
};

impl FileSystem {
    /// Takes over the new state. Returns what the kernel has to forget. To be called while changes are held off.
    ///
    /// # Errors
    /// Without randomness.
    pub(super) fn merge(&self, survey: Survey, mut verdicts: Verdicts, news: &News) -> Result<Vec<Stale>> {
        let captured = std::mem::take(&mut verdicts.captured);
        let _no_loads = self.inodes.hold();
        self.drive.spaces.committed(news.spaces.clone());
        let mut merge = Merge { fs: self, survey: &survey, verdicts: &verdicts, stale: Vec::new(), graves: Vec::new() };
        verdicts.revived.iter().for_each(revive);
        let is_overtaken =
            |departure: &Arc<Departure>| verdicts.overtaken.iter().any(|overtaken| Arc::ptr_eq(overtaken, departure));
        self.departures.lock().retain(|departure| !is_overtaken(departure));
        self.replace_nothing(&verdicts);
        for captured in captured {
            merge.stale.push(Stale::Inode(captured.inode.ino));
            self.use_captured(captured);
        }
        merge.entries();
        merge.directories()?;
        let stale = merge.stale;
        for (inode, _) in survey.inodes {
            self.inodes.drop_unused(inode);
        }
        Ok(stale)
    }

    /// What takes the name of something that comes back gets another name instead.
    fn replace_nothing(&self, verdicts: &Verdicts) {
        for inode in self.inodes.all() {
            let mut state = inode.state.lock();
            state.replaces.take_if(|replaced| verdicts.keep.contains(&replaced.ino));
        }
    }

    /// Takes over keys, attributes and content, except for what we changed ourselves; with that if we had removed it all.
    fn take(&self, inode: &Arc<Inode>, entry: &Entry, all: bool) {
        let is_rekeyed = !all && self.is_rekeyed(inode);
        let mut state = inode.state.lock();
        let mut keys = entry.keys.clone();
        if is_rekeyed {
            keys.data_key = state.keys.data_key.clone();
        }
        state.keys = Arc::new(keys);
        state.stored = true;
        let theirs = &entry.properties;
        if state.changed && !all {
            if !is_rekeyed {
                state.properties.stream_secret.clone_from(&theirs.stream_secret);
            }
            state.properties.modified = state.properties.modified.max(theirs.modified);
            let (base, ours) = (state.stored_posix.as_ref(), state.properties.posix.as_ref());
            state.properties.posix = attributes::merged(base, ours, theirs.posix.as_ref());
        } else {
            state.properties.clone_from(theirs);
            (state.properties.thumbnail, state.properties.tree_hash) = (None, None);
        }
        state.stored_posix.clone_from(&theirs.posix);
        state.ctime = SystemTime::now();
        if std::mem::take(&mut state.unread) && state.left_out.is_some() {
            self.mark(inode, &mut state);
        }
        let Some(content) = &inode.content else { return };
        let mut content = content.lock();
        if all || !content.is_changed() {
            let (size, modified) = (theirs.size, Some(theirs.modified));
            let stored = StoredContent { size, chunks: size.div_ceil(CHUNK).max(1), leaves: None, modified };
            let first = (entry.keys.cap.map_key, entry.keys.cap.bat.clone());
            let locations = Locations::new(first, theirs.stream_secret.clone());
            content.replace(stored, attr::system_time(theirs.modified), locations);
        }
    }

    /// Puts what another client moved to `directory` there, now that its children are known.
    pub(in crate::posix) fn find_moved(&self, directory: &Arc<Inode>, children: &Dir) {
        if !self.moved.load(Ordering::Relaxed) {
            return;
        }
        for (name, child) in children.iter() {
            if let Some(inode) = self.inodes.get(child.ino)
                && inode.state.lock().elsewhere.is_some()
            {
                attach(&inode, directory, name);
            }
        }
    }
}

struct Merge<'a> {
    fs: &'a FileSystem,
    survey: &'a Survey,
    verdicts: &'a Verdicts,
    stale: Vec<Stale>,
    /// Where what is gone was, or where we had moved it.
    graves: Vec<(Arc<Inode>, String, u64)>,
}

impl Merge<'_> {
    /// Takes over everything but the children of directories.
    fn entries(&mut self) {
        for (inode, fresh) in &self.survey.inodes {
            match fresh {
                Fresh::Gone if self.verdicts.keep.contains(&inode.ino) => {}
                Fresh::Gone => {
                    self.graves.extend(directory_and_name(inode).map(|(directory, name)| (directory, name, inode.ino)));
                    bury(inode);
                }
                Fresh::Entry(entry) | Fresh::Dir(entry, _) => {
                    let is_revived = self.verdicts.revived.iter().any(|revived| revived.ino == inode.ino);
                    let is_united = self.verdicts.united.contains(&inode.ino);
                    if is_united {
                        self.fs.inodes.renumber(entry.keys.cap.map_key, inode.ino);
                    }
                    if is_revived || is_united || inode.state.lock().stored {
                        self.fs.take(inode, entry, is_revived);
                    }
                    if is_revived && inode.state.lock().parent.is_none() {
                        self.send_away(inode, entry);
                    }
                }
                Fresh::Again(_) => inode.state.lock().stored = false,
                // a file whose version here is kept is another now
                Fresh::Unread if inode.content.is_some() && self.is_kept_apart(inode) => {}
                Fresh::Unread => self.leave_unread(inode),
            }
            self.stale.push(Stale::Inode(inode.ino));
        }
    }

    fn is_kept_apart(&self, inode: &Inode) -> bool {
        self.verdicts.keep.contains(&inode.ino) && !inode.state.lock().stored
    }

    /// What cannot be read stays as others have it. What is kept in a directory is put there when that can be read.
    fn leave_unread(&self, inode: &Inode) {
        let mut state = inode.state.lock();
        if !std::mem::replace(&mut state.unread, true) {
            tracing::warn!(ino = inode.ino, "what another client made of an entry cannot be read");
        }
        if let Some(dir) = &mut state.dir {
            dir.insist(|ino| self.verdicts.keep.contains(&ino));
        }
    }

    /// Takes over the children of directories, and puts inodes where they are now.
    fn directories(&mut self) -> Result<()> {
        let mut rebased = HashMap::new();
        for (inode, fresh) in &self.survey.inodes {
            let (listing, again) = match fresh {
                Fresh::Dir(_, listing) => (listing, false),
                Fresh::Again(listing) => (listing, true),
                Fresh::Gone | Fresh::Entry(_) | Fresh::Unread => continue,
            };
            self.rebase(inode, listing.clone(), again)?;
            rebased.insert(inode.ino, inode.clone());
        }
        for (directory, name, ino) in std::mem::take(&mut self.graves) {
            if directory
                .state
                .lock()
                .dir
                .as_ref()
                .is_some_and(|dir| dir.get(&name).is_some_and(|child| child.ino == ino))
            {
                self.strike(&directory, &name);
            }
        }
        for inode in rebased.values() {
            self.place_children(inode);
        }
        for inode in self.fs.inodes.all() {
            let parent = inode.state.lock().parent.clone();
            let Some(parent) = parent else { continue };
            if rebased.contains_key(&parent.ino) && !lists(&parent, &inode) {
                self.lose(&inode);
            } else if let Some(Fresh::Entry(entry) | Fresh::Dir(entry, _)) = self.survey.get(inode.ino)
                && !self.verdicts.keep.contains(&inode.ino)
            {
                self.yield_to(&inode, &parent, entry);
            }
        }
        self.break_circles()
    }

    /// Takes back our moves of directories into what others moved into these, or to where we cannot tell.
    fn break_circles(&mut self) -> Result<()> {
        for (ino, entry) in &self.verdicts.moved {
            let Some(inode) = self.fs.inodes.get(*ino) else { continue };
            let place =
                directory_and_name(&inode).filter(|(parent, _)| is_ancestor(&inode, parent) || is_elsewhere(parent));
            let Some((parent, name)) = place else { continue };
            self.strike(&parent, &name);
            // nothing can be put where not all can be read
            match self.fs.directory_of_theirs(entry).filter(is_complete) {
                Some(directory) => self.put_back(&inode, &directory, &entry.properties.name)?,
                None => self.send_away(&inode, entry),
            }
        }
        Ok(())
    }

    /// Puts an inode into a directory, beside what has its name there.
    fn put_back(&mut self, inode: &Arc<Inode>, directory: &Arc<Inode>, name: &str) -> Result<()> {
        let mut state = directory.state.lock();
        let dir = state.dir.get_or_insert_default();
        let name: Arc<str> = dir.insert_beside(name, inode)?;
        state.changed = true;
        self.fs.mark(directory, &mut state);
        drop(state);
        attach(inode, directory, &name);
        let mut state = inode.state.lock();
        (state.changed, state.link_changed) = (true, true);
        self.fs.mark(inode, &mut state);
        self.stale.push(Stale::Name { directory: directory.ino, name, gone: None });
        Ok(())
    }

    fn rebase(&mut self, inode: &Arc<Inode>, listing: Listing, again: bool) -> Result<()> {
        let fate = |ino: u64| match self.survey.get(ino) {
            _ if self.verdicts.keep.contains(&ino) => Fate::Kept,
            Some(Fresh::Gone) => Fate::Gone,
            _ => Fate::Merged,
        };
        let number = |key: &_| self.fs.inodes.number(key);
        let mut state = inode.state.lock();
        let dir = state.dir.get_or_insert_default();
        let rebased = dir.rebase(listing, number, &fate)?;
        if again {
            dir.rewrite();
        }
        // names that others gave twice are no reason to change anything
        if dir.is_dirty() && !self.fs.options.read_only {
            state.changed = true;
            self.fs.mark(inode, &mut state);
        }
        drop(state);
        for (ino, name) in rebased.renamed {
            if let Some(child) = self.fs.inodes.get(ino) {
                let mut state = child.state.lock();
                name.as_ref().clone_into(&mut state.properties.name);
                (state.changed, state.link_changed) = (true, true);
                self.fs.mark(&child, &mut state);
            }
        }
        let stale = |(name, gone)| Stale::Name { directory: inode.ino, name, gone };
        self.stale.extend(rebased.names.into_iter().map(stale));
        Ok(())
    }

    /// Puts the inodes of a directory's children there.
    fn place_children(&mut self, directory: &Arc<Inode>) {
        let children: Vec<(Arc<str>, Arc<Inode>)> = {
            let state = directory.state.lock();
            let children = state.dir.as_deref().into_iter().flat_map(Dir::iter);
            children.filter_map(|(name, child)| Some((name.clone(), self.fs.inodes.get(child.ino)?))).collect()
        };
        for (name, inode) in children {
            let (parent, removed) = {
                let state = inode.state.lock();
                (state.parent.clone(), state.unlinked && state.stored)
            };
            match parent {
                Some(parent) if parent.ino == directory.ino => attach(&inode, directory, &name),
                // moved by both, and removed by us: as we have it
                Some(parent) if lists(&parent, &inode) => self.strike(directory, &name),
                None if removed => self.strike(directory, &name),
                _ => attach(&inode, directory, &name),
            }
        }
    }

    /// Takes a name out of a directory.
    fn strike(&mut self, directory: &Arc<Inode>, name: &str) {
        let mut state = directory.state.lock();
        let struck = state.dir.as_mut().and_then(|dir| dir.remove(name));
        if let Some(child) = struck {
            let (directory, name, gone) = (directory.ino, name.into(), Some(child.ino));
            self.stale.push(Stale::Name { directory, name, gone });
        }
        state.changed = true;
        self.fs.mark(directory, &mut state);
    }

    /// An inode that its directory does not list any more: it is elsewhere, or gone.
    fn lose(&self, inode: &Arc<Inode>) {
        match self.survey.get(inode.ino) {
            Some(Fresh::Entry(entry) | Fresh::Dir(entry, _)) => self.send_away(inode, entry),
            _ => bury(inode),
        }
    }

    /// Takes back our move of an entry that others moved to a directory which is not in use here, so that it is not in two.
    fn yield_to(&mut self, inode: &Arc<Inode>, parent: &Arc<Inode>, entry: &Entry) {
        let Some(link) = entry.parent.as_ref().filter(|_| entry.keys.link.is_none()) else { return };
        let is_known = |other: &Arc<Inode>| {
            let state = other.state.lock();
            state.keys.cap.map_key == link.map_key && state.dir.is_some()
        };
        if is_known(parent) || self.fs.inodes.all().iter().any(is_known) {
            return;
        }
        // it may have the name that others gave it by now, and something else may have that here
        if lists(parent, inode) {
            let name = inode.state.lock().properties.name.clone();
            self.strike(parent, &name);
        }
        self.send_away(inode, entry);
    }

    fn send_away(&self, inode: &Arc<Inode>, entry: &Entry) {
        self.fs.moved.store(true, Ordering::Relaxed);
        let mut state = inode.state.lock();
        state.elsewhere = entry.parent.clone().map(Box::new);
        state.properties.name.clone_from(&entry.properties.name);
        inode.set_parent(&mut state, None);
    }
}

fn directory_and_name(inode: &Inode) -> Option<(Arc<Inode>, String)> {
    let state = inode.state.lock();
    Some((state.parent.clone()?, state.properties.name.clone()))
}

/// Whether all children of a directory are known.
fn is_complete(directory: &Arc<Inode>) -> bool {
    directory.state.lock().dir.as_ref().is_some_and(|dir| dir.check_complete().is_ok())
}

/// Whether a directory is, or is in, one that others moved to where nothing is in use.
fn is_elsewhere(directory: &Arc<Inode>) -> bool {
    let mut next = Some(directory.clone());
    let mut passed = Vec::new();
    while let Some(inode) = next.filter(|inode| !passed.contains(&inode.ino)) {
        let state = inode.state.lock();
        if state.elsewhere.is_some() {
            return true;
        }
        passed.push(inode.ino);
        next = state.parent.clone();
    }
    false
}

/// Whether a directory has an inode under the name that the inode has.
fn lists(directory: &Inode, inode: &Inode) -> bool {
    let name = inode.state.lock().properties.name.clone();
    let state = directory.state.lock();
    state.dir.as_ref().is_some_and(|dir| dir.get(&name).is_some_and(|child| child.ino == inode.ino))
}

/// Puts an inode into a directory.
fn attach(inode: &Arc<Inode>, directory: &Arc<Inode>, name: &str) {
    let mut state = inode.state.lock();
    (state.unlinked, state.removed_from, state.elsewhere) = (false, None, None);
    name.clone_into(&mut state.properties.name);
    if state.parent.as_ref().is_none_or(|parent| parent.ino != directory.ino) {
        inode.set_parent(&mut state, Some(directory.clone()));
    }
}

/// Takes back that an inode was unlinked.
fn revive(inode: &Arc<Inode>) {
    let mut state = inode.state.lock();
    state.unlinked = false;
    let is_stored = state.stored;
    if let Some(removed) = state.removed_from.take().filter(|_| is_stored) {
        inode.set_parent(&mut state, Some(removed.from));
    }
}

/// Nothing is stored of an inode any more. Who has it open can go on with what is in memory; a directory is empty, since
/// what was in it is gone too, or elsewhere.
fn bury(inode: &Arc<Inode>) {
    let mut state = inode.state.lock();
    (state.unlinked, state.stored, state.unread) = (true, false, false);
    state.dir = state.dir.as_ref().map(|_| Box::default());
    state.removed_from = state.parent.clone().map(|from| Removed { from, signer: None });
    inode.set_parent(&mut state, None);
}

//! Whose version of an entry stays, where both sides changed it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use peergos_crypto::bat::Bat;

use crate::{
    Result,
    capability::MapKey,
    posix::{
        FileSystem,
        departure::Departure,
        inode::Inode,
        refresh::{
            conflict::{Captured, Drafts},
            departed::differs,
            news::News,
            survey::{Fresh, Survey},
        },
    },
    tree::{DirChunk, Drive, Entry, Listing},
};

/// What is decided about entries of ours.
#[derive(Default)]
pub(super) struct Verdicts {
    /// Those that stay although others removed them, or were removed by us and come back, because the other side changed
    /// them; and those that become files beside theirs.
    pub keep: HashSet<u64>,
    /// Files of ours to be stored as a whole.
    pub captured: Vec<Captured>,
    /// What we removed and others changed.
    pub revived: Vec<Arc<Inode>>,
    /// The directories that we moved, by number, as others have them.
    pub moved: HashMap<u64, Entry>,
    /// The new directories of ours, by number, that become those that others made under the same names.
    pub united: Vec<u64>,
    /// What does not leave its old place, because others changed it there.
    pub overtaken: Vec<Arc<Departure>>,
    /// Directories that must be seen as a whole: something in them is decided otherwise than either side had it.
    pub listed: Vec<Arc<Inode>>,
}

/// What we did to an inode.
struct Local {
    unlinked: bool,
    content: bool,
    children: bool,
}

impl FileSystem {
    /// Decides about everything in the survey. Directories that this needs are added to it. Nothing else changes, other
    /// than that chunks are stored.
    pub(super) fn judge(
        &self,
        survey: &mut Survey,
        news: &News,
        theirs: &Drive,
        drafts: &mut Drafts,
    ) -> Result<Verdicts> {
        let mut verdicts = Verdicts { united: self.unite(survey, theirs)?, ..Verdicts::default() };
        self.judge_departures(news, theirs, &mut verdicts)?;
        // from the leaves up, so that a directory is known to be needed by what is in it
        for (inode, fresh) in survey.inodes.iter().rev() {
            self.judge_one(inode, fresh, survey, theirs, drafts, &mut verdicts)?;
        }
        for directory in std::mem::take(&mut verdicts.listed) {
            let fresh = match survey.get(directory.ino) {
                Some(Fresh::Dir(..) | Fresh::Again(_) | Fresh::Unread) => continue,
                Some(Fresh::Gone) if !verdicts.keep.contains(&directory.ino) => continue,
                Some(Fresh::Gone) => Fresh::Again(empty(&directory)?),
                Some(Fresh::Entry(_)) | None if directory.state.lock().stored => {
                    let entry = self.load_inode(&directory, theirs);
                    Fresh::or_unread(entry.and_then(|entry| Fresh::dir(entry, theirs)))?
                }
                _ => continue,
            };
            survey.add(directory, fresh);
        }
        for inode in self.inodes.all().into_iter().filter(|inode| is_moved(inode)) {
            match self.load_inode(&inode, theirs) {
                Err(error) if error.is_of_one_entry() => {}
                entry => drop(verdicts.moved.insert(inode.ino, entry?)),
            }
        }
        Ok(verdicts)
    }

    /// Decides about one entry.
    fn judge_one(
        &self,
        inode: &Arc<Inode>,
        fresh: &Fresh,
        survey: &Survey,
        theirs: &Drive,
        drafts: &mut Drafts,
        verdicts: &mut Verdicts,
    ) -> Result<()> {
        let local = Local::of(inode);
        match fresh {
            Fresh::Gone if local.unlinked => {}
            Fresh::Gone if local.content => {
                verdicts.captured.push(self.capture_removed(inode, drafts)?);
                self.keep(inode, survey, verdicts);
            }
            Fresh::Gone if local.children => self.keep(inode, survey, verdicts),
            Fresh::Gone => {}
            Fresh::Entry(entry) if local.unlinked => {
                if inode.content.is_none() || was_moved(inode, entry) || self.differs(inode, entry)? {
                    revive(inode, verdicts);
                    self.list_theirs(entry, verdicts);
                }
            }
            // as decided with its departure
            Fresh::Entry(_) | Fresh::Unread if verdicts.keep.contains(&inode.ino) => {}
            Fresh::Unread if local.unlinked => revive(inode, verdicts),
            Fresh::Unread if local.content => {
                verdicts.captured.push(self.capture_copy(inode, None, drafts)?);
                verdicts.keep.insert(inode.ino);
                verdicts.listed.extend(inode.state.lock().parent.clone());
            }
            Fresh::Entry(entry) if local.content && self.differs(inode, entry)? => {
                verdicts.captured.push(self.capture_copy(inode, Some((theirs, entry)), drafts)?);
                verdicts.keep.insert(inode.ino);
                verdicts.listed.extend(inode.state.lock().parent.clone());
                self.list_theirs(entry, verdicts);
            }
            Fresh::Dir(entry, listing) if local.unlinked => {
                let is_gone = |number| {
                    let child = self.inodes.get(number);
                    child.is_some_and(|child| child.state.lock().unlinked && !verdicts.keep.contains(&number))
                };
                let is_empty = listing.children.iter().all(|(_, link)| is_gone(self.inodes.number(&link.cap.map_key)));
                if !is_empty || was_moved(inode, entry) {
                    revive(inode, verdicts);
                    self.list_theirs(entry, verdicts);
                }
            }
            Fresh::Entry(_) | Fresh::Dir(..) | Fresh::Again(_) | Fresh::Unread => {}
        }
        Ok(())
    }

    /// Has an entry that is gone stored again, and the directories above it that are gone too.
    fn keep(&self, inode: &Arc<Inode>, survey: &Survey, verdicts: &mut Verdicts) {
        verdicts.keep.insert(inode.ino);
        if inode.content.is_none() {
            verdicts.listed.push(inode.clone());
        }
        let parent = inode.state.lock().parent.clone();
        let Some(parent) = parent else { return };
        match survey.get(parent.ino) {
            Some(Fresh::Gone) => self.keep(&parent, survey, verdicts),
            _ => verdicts.listed.push(parent),
        }
    }

    /// Has the directory that others have an entry in seen as a whole. If we removed it, that is taken back, since they
    /// keep something there.
    fn list_theirs(&self, entry: &Entry, verdicts: &mut Verdicts) {
        let Some(directory) = self.directory_of_theirs(entry) else { return };
        let is_removed = {
            let state = directory.state.lock();
            state.unlinked && state.stored
        };
        if is_removed {
            revive(&directory, verdicts);
        }
        verdicts.listed.push(directory);
    }

    /// The directory that others have an entry in: we may have taken it out of there. None if it is not in use.
    pub(super) fn directory_of_theirs(&self, entry: &Entry) -> Option<Arc<Inode>> {
        let key = entry.parent.as_ref()?.map_key;
        self.inodes.all().into_iter().find(|inode| {
            let state = inode.state.lock();
            state.keys.cap.map_key == key && state.dir.is_some()
        })
    }

    /// Whether the content of a file is another than we knew it. What cannot be compared is.
    fn differs(&self, inode: &Arc<Inode>, entry: &Entry) -> Result<bool> {
        let (keys, unread) = {
            let state = inode.state.lock();
            (state.keys.clone(), state.unread)
        };
        Ok(unread || self.known(&keys)?.is_none_or(|known| differs(&known, entry)))
    }
}

/// Takes back that we removed an entry, and the directories that it was in.
fn revive(inode: &Arc<Inode>, verdicts: &mut Verdicts) {
    if !verdicts.keep.insert(inode.ino) {
        return;
    }
    verdicts.revived.push(inode.clone());
    let removed = {
        let state = inode.state.lock();
        // of what was gone already, the directory may be another by now
        state.removed_from.clone().filter(|_| state.stored)
    };
    if let Some(removed) = removed {
        let is_removed = {
            let state = removed.from.state.lock();
            state.unlinked && state.stored
        };
        if is_removed {
            revive(&removed.from, verdicts);
        }
        verdicts.listed.push(removed.from);
    }
}

/// Whether it is a directory that we moved or renamed.
fn is_moved(inode: &Inode) -> bool {
    let state = inode.state.lock();
    let (true, Some(parent)) = (inode.content.is_none() && state.stored, state.parent.clone()) else { return false };
    let name = state.properties.name.clone();
    drop(state);
    parent.state.lock().dir.as_ref().is_some_and(|dir| dir.is_changed(&name))
}

/// Whether others moved what we removed.
fn was_moved(inode: &Inode, entry: &Entry) -> bool {
    let removed = inode.state.lock().removed_from.clone();
    let from = removed.map(|removed| removed.from.keys().cap.map_key);
    entry.parent.as_ref().map(|parent| parent.map_key) != from && inode.keys().link.is_none()
}

/// A directory without children at the place of `inode`.
fn empty(inode: &Inode) -> Result<Listing> {
    let cap = inode.keys().cap.clone();
    let next = (MapKey::generate()?, Some(Bat::generate()?));
    let chunks = vec![DirChunk { location: (cap.map_key, cap.bat), next }];
    Ok(Listing { chunks, ..Listing::default() })
}

impl Local {
    fn of(inode: &Inode) -> Self {
        let state = inode.state.lock();
        Self {
            unlinked: state.unlinked,
            content: inode.content.as_ref().is_some_and(|content| content.lock().is_changed()),
            children: state.dir.as_ref().is_some_and(|dir| dir.has_new()),
        }
    }
}

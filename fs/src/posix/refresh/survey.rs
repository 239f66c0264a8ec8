//! What the entries in use have become, as others left them.

use std::{collections::HashMap, sync::Arc};

use crate::{
    Error, Result,
    capability::{ChildLink, MapKey},
    posix::{FileSystem, Kind, inode::Inode, refresh::news::News},
    space::Signer,
    tree::{self, Drive, Entry, Keys, Listing},
};

/// What an entry has become.
pub(super) enum Fresh {
    /// Nothing is stored any more.
    Gone,
    /// A file, or a directory whose children are not loaded.
    Entry(Entry),
    /// A directory.
    Dir(Entry, Listing),
    /// A directory that is gone, and is stored again with what is kept in it.
    Again(Listing),
    /// Something that cannot be read.
    Unread,
}

impl Fresh {
    /// A directory with its children.
    ///
    /// # Errors
    /// [`Error::Damaged`] if not all of them can be read; as [`tree::list`].
    pub fn dir(entry: Entry, drive: &Drive) -> Result<Self> {
        let listing = tree::list(drive, &entry.keys)?;
        if listing.is_damaged {
            return Err(Error::Damaged("a directory that another client changed cannot be read to its end"));
        }
        Ok(Self::Dir(entry, listing))
    }

    /// What was loaded of one entry, which may be damaged.
    pub fn or_unread(loaded: Result<Self>) -> Result<Self> {
        match loaded {
            Err(error) if error.is_of_one_entry() => {
                tracing::debug!(%error, "what another client made of an entry cannot be read");
                Ok(Self::Unread)
            }
            loaded => loaded,
        }
    }
}

/// The entries that others changed, by inode number.
#[derive(Default)]
pub(super) struct Survey {
    /// Inodes and what they have become, directories before what is in them.
    pub inodes: Vec<(Arc<Inode>, Fresh)>,
    by_number: HashMap<u64, usize>,
    /// The links in changed directories, by the directory's number and what they address.
    links: HashMap<(u64, MapKey), usize>,
}

impl Survey {
    /// What the inode with a number has become, if it changed.
    pub fn get(&self, ino: u64) -> Option<&Fresh> {
        self.by_number.get(&ino).map(|at| &self.inodes[*at].1)
    }

    /// The link to `key` in a directory that changed: none if that is not listed there, or not changed.
    pub fn link(&self, directory: u64, key: &MapKey) -> Option<(&Entry, &ChildLink)> {
        let Some(Fresh::Dir(entry, listing)) = self.get(directory) else { return None };
        let at = self.links.get(&(directory, *key))?;
        Some((entry, &listing.children[*at].1))
    }

    /// Adds what an inode has become, instead of what was known of it.
    pub fn add(&mut self, inode: Arc<Inode>, fresh: Fresh) {
        if let Fresh::Dir(_, listing) = &fresh {
            let links = listing.children.iter().enumerate();
            self.links.extend(links.map(|(at, (_, link))| ((inode.ino, link.cap.map_key), at)));
        }
        match self.by_number.get(&inode.ino) {
            Some(at) => self.inodes[*at].1 = fresh,
            None => {
                self.by_number.insert(inode.ino, self.inodes.len());
                self.inodes.push((inode, fresh));
            }
        }
    }
}

/// How deep in the tree an inode is.
fn depth(inode: &Arc<Inode>) -> usize {
    std::iter::successors(directory_of(inode), directory_of).count()
}

/// The directory that an inode is in, or was before it was unlinked.
pub(super) fn directory_of(inode: &Arc<Inode>) -> Option<Arc<Inode>> {
    let state = inode.state.lock();
    state.parent.clone().or_else(|| state.removed_from.as_ref().map(|removed| removed.from.clone()))
}

impl FileSystem {
    /// Loads what the news touch from `theirs`.
    pub(super) fn survey(&self, news: &News, theirs: &Drive) -> Result<Survey> {
        let mut inodes: Vec<_> = self.inodes.all().into_iter().map(|inode| (depth(&inode), inode)).collect();
        inodes.sort_by_key(|(depth, _)| *depth);
        let mut survey = Survey::default();
        for (_, inode) in inodes {
            let Some(fresh) = self.look_at(&inode, &survey, news, theirs).transpose() else { continue };
            match Fresh::or_unread(fresh)? {
                // of what was gone already nothing is missed
                Fresh::Unread if !inode.state.lock().stored => {}
                fresh => survey.add(inode, fresh),
            }
        }
        Ok(survey)
    }

    /// What one inode has become; none if it is as it was.
    fn look_at(&self, inode: &Arc<Inode>, survey: &Survey, news: &News, theirs: &Drive) -> Result<Option<Fresh>> {
        let (keys, stored, unlinked, unread) = {
            let state = inode.state.lock();
            (state.keys.clone(), state.stored, state.unlinked, state.unread)
        };
        // what is gone, and still open, may be stored again by others
        if !stored && !unlinked {
            return Ok(None);
        }
        let directory = directory_of(inode);
        let relinked = directory.as_ref().and_then(|directory| {
            let (entry, link) = survey.link(directory.ino, &keys.top().map_key)?;
            let cap = link.cap.absolutise(&entry.keys.cap).ok()?;
            (cap != *keys.top()).then_some((&entry.keys, link))
        });
        if relinked.is_none() && !unread && !is_touched(inode, &keys, news) {
            return Ok(None);
        }
        let loaded = match relinked {
            Some((directory, link)) => {
                tree::load_children(theirs, directory, &[link]).pop().unwrap_or(Err(Error::Dangling))
            }
            None => self.load_inode(inode, theirs),
        };
        let entry = match loaded {
            Err(Error::Dangling | Error::SpaceGone(_)) => return Ok(stored.then_some(Fresh::Gone)),
            other => other?,
        };
        if entry.properties.is_dir != (inode.kind == Kind::Directory) {
            return Ok(stored.then_some(Fresh::Gone));
        }
        let is_listed = inode.state.lock().dir.is_some();
        Ok(Some(if is_listed { Fresh::dir(entry, theirs)? } else { Fresh::Entry(entry) }))
    }

    /// The entry of an inode in another state of the tree.
    pub(super) fn load_inode(&self, inode: &Arc<Inode>, drive: &Drive) -> Result<Entry> {
        let signer: Option<Signer> = match directory_of(inode) {
            Some(directory) => directory.keys().signer.clone(),
            None => Some(Arc::new(self.account.home_signer.clone())),
        };
        tree::load(drive, inode.keys().top().clone(), signer.as_ref())
    }
}

/// Whether a node of the inode's differs.
fn is_touched(inode: &Inode, keys: &Keys, news: &News) -> bool {
    let writer = &keys.cap.writer;
    if news.touches(&keys.cap) || news.touches(keys.top()) {
        return true;
    }
    if let Some(content) = &inode.content {
        return content.lock().locations.known().iter().any(|(key, _)| news.touches_key(writer, key));
    }
    let state = inode.state.lock();
    state.dir.as_ref().is_some_and(|dir| dir.all_locations().any(|(key, _)| news.touches_key(writer, key)))
}

//! A directory as another client stored it, with our own uncommitted changes on top.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::{
    Result,
    capability::MapKey,
    posix::{
        dir::{Child, Dir, Link},
        inode::Inode,
        names,
    },
    tree::Listing,
};

/// What becomes of a child when its directory is rebased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::posix) enum Fate {
    /// It is where both sides together put it.
    Merged,
    /// It stays, whatever the other side did.
    Kept,
    /// It does not exist any more.
    Gone,
}

/// What became of a directory that was rebased.
#[derive(Debug, Default)]
pub(in crate::posix) struct Rebased {
    /// Children of ours that had to get other names.
    pub renamed: Vec<(u64, Arc<str>)>,
    /// Names that have another child than before, or had none, or have none: then with the inode number of what they had.
    pub names: Vec<(Arc<str>, Option<u64>)>,
}

impl Dir {
    /// Takes over what another client stored, and makes our own changes on top of it. `fate` says what becomes
    /// of children by their inode numbers.
    ///
    /// What we removed, and another client removed or replaced as well, is as they have it; so is what we removed and
    /// is kept. Two children of one name both stay, ours under another one.
    ///
    /// # Errors
    /// As [`Dir::insert`].
    pub fn rebase(
        &mut self,
        listing: Listing,
        ino_of: impl Fn(&MapKey) -> u64,
        fate: &dyn Fn(u64) -> Fate,
    ) -> Result<Rebased> {
        let mut ours = std::mem::replace(self, Self::loaded(listing, ino_of));
        self.take_cookies(&ours);
        let before: Vec<(Arc<str>, u64)> = ours.by_name.iter().map(|(name, child)| (name.clone(), child.ino)).collect();
        let theirs: HashMap<u64, Arc<str>> =
            self.by_name.iter().map(|(name, child)| (child.ino, name.clone())).collect();
        let kept = |ino| fate(ino) == Fate::Kept;
        // everything is taken out before anything is put in: what gets a name that became free must not be mistaken for
        // what had it before
        let mut added: Vec<(Arc<str>, Child)> = Vec::new();
        for (name, before) in std::mem::take(&mut ours.changes) {
            let child = ours.by_name.remove(&name);
            let there = self.by_name.get(&name).map(|child| child.ino);
            if let Some(child) = child {
                if there == Some(child.ino) {
                    self.relink_pending(&name, child.link);
                    continue;
                }
                added.push((name.clone(), child));
            }
            if there.is_some_and(|ino| before == Some(ino) && !kept(ino)) {
                self.remove(&name);
            }
        }
        added.sort_by_key(|(_, child)| child.cookie);
        // renamed by us, or by both: as we have it
        for (name, child) in &mut added {
            if let Some(other) = theirs.get(&child.ino)
                && self.by_name.get(other).is_some_and(|there| there.ino == child.ino)
                && let Some(moved) = self.remove(other)
                && matches!(child.link, Link::Made(_))
            {
                child.link = moved.link.named(name);
            }
        }
        let mut rebased = Rebased::default();
        for (name, child) in added {
            if fate(child.ino) != Fate::Gone {
                self.add_beside(&name, child.ino, child.link, &mut rebased)?;
            }
        }
        for (name, child) in ours.by_name {
            let same = self.by_name.get(&name).is_some_and(|there| there.ino == child.ino);
            if same {
                self.relink_pending(&name, child.link);
            } else if kept(child.ino) && !theirs.contains_key(&child.ino) {
                self.add_beside(&name, child.ino, child.link, &mut rebased)?;
            }
        }
        let now = |name: &str| self.by_name.get(name).map(|child| child.ino);
        let known: HashSet<&Arc<str>> = before.iter().map(|(name, _)| name).collect();
        rebased.names.extend(self.by_name.keys().filter(|name| !known.contains(name)).map(|name| (name.clone(), None)));
        for (name, ino) in before.into_iter().filter(|(name, ino)| now(name) != Some(*ino)) {
            let gone = now(&name).is_none().then_some(ino);
            rebased.names.push((name, gone));
        }
        Ok(rebased)
    }

    /// Gives children the cookies that they have in `other`, so that listings that are under way go on.
    fn take_cookies(&mut self, other: &Self) {
        self.order.clear();
        self.last_cookie = other.last_cookie;
        for (name, child) in &mut self.by_name {
            child.cookie = match other.by_name.get(name) {
                Some(known) if known.ino == child.ino => known.cookie,
                _ => {
                    self.last_cookie += 1;
                    self.last_cookie
                }
            };
            self.order.insert(child.cookie, name.clone());
        }
    }

    /// Adds a child, under another name if that is taken. Returns the name.
    ///
    /// # Errors
    /// As [`Dir::insert`].
    pub fn insert_beside(&mut self, name: &str, inode: &Arc<Inode>) -> Result<Arc<str>> {
        let mut rebased = Rebased::default();
        self.add_beside(&name.into(), inode.ino, Link::Pending(inode.clone()), &mut rebased)?;
        Ok(rebased.renamed.pop().map_or_else(|| name.into(), |(_, other)| other))
    }

    /// Adds a child of ours, under another name if theirs has that one.
    fn add_beside(&mut self, name: &Arc<str>, ino: u64, link: Link, rebased: &mut Rebased) -> Result<()> {
        if !self.by_name.contains_key(name) {
            return self.add(name.clone(), ino, link);
        }
        let other: Arc<str> = names::conflicting(name, |name| self.by_name.contains_key(name)).into();
        rebased.renamed.push((ino, other.clone()));
        self.add(other.clone(), ino, link.named(&other))
    }

    fn relink_pending(&mut self, name: &str, link: Link) {
        if matches!(link, Link::Pending(_))
            && let Some(child) = self.by_name.get_mut(name)
        {
            child.link = link;
            if let Some(chunk) = self.chunks.get_mut(child.chunk) {
                chunk.dirty = true;
            }
        }
    }
}

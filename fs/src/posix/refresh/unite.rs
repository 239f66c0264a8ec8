//! Directories that both sides made under one name become one, which holds what is in either: as the sync client of the
//! reference has it, to which directories are paths (spec 04 §7.4).

use std::{collections::HashMap, sync::Arc};

use crate::{
    Result,
    capability::ChildLink,
    posix::{
        FileSystem, Kind,
        dir::{Dir, Link},
        inode::Inode,
        refresh::survey::{Fresh, Survey},
    },
    tree::{self, Drive, Keys},
};

impl FileSystem {
    /// Has new directories of ours become those that others made under the same names: in the survey they are what the
    /// others stored. Returns their numbers.
    pub(super) fn unite(&self, survey: &mut Survey, theirs: &Drive) -> Result<Vec<u64>> {
        let mut united = Vec::new();
        let mut at = 0;
        // grows by what is united, in which there may be more
        while let Some((directory, fresh)) = survey.inodes.get(at) {
            at += 1;
            let Fresh::Dir(entry, listing) = fresh else { continue };
            let mut ours = new_directories(directory);
            let mut pairs: Vec<(Arc<Inode>, ChildLink)> = Vec::new();
            for (_, link) in &listing.children {
                // one that others moved there, and that is in use here, has a number already
                if link.is_dir == Some(true)
                    && self.inodes.get(self.inodes.number(&link.cap.map_key)).is_none()
                    && let Some(inode) = ours.remove(link.name.as_str())
                {
                    pairs.push((inode, link.clone()));
                }
            }
            let keys = entry.keys.clone();
            for (inode, link) in pairs {
                match read(theirs, &keys, &link) {
                    Ok(Some(fresh)) => {
                        united.push(inode.ino);
                        survey.add(inode, fresh);
                    }
                    // they stay two
                    Ok(None) => {}
                    Err(error) if error.is_of_one_entry() => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(united)
    }
}

/// A directory of others in which new children of ours can be put: in the space of the directory that it is in.
fn read(theirs: &Drive, parent: &Keys, link: &ChildLink) -> Result<Option<Fresh>> {
    let Some(entry) = tree::load_children(theirs, parent, &[link]).pop().transpose()? else { return Ok(None) };
    if entry.keys.link.is_some() || entry.keys.cap.writer != parent.cap.writer || !entry.properties.is_dir {
        return Ok(None);
    }
    let listing = tree::list(theirs, &entry.keys)?;
    Ok((!listing.is_damaged).then_some(Fresh::Dir(entry, listing)))
}

/// The directories that we made in one, by name; without those to whose keys a link to a child is bound already.
fn new_directories(directory: &Inode) -> HashMap<Arc<str>, Arc<Inode>> {
    let children: Vec<(Arc<str>, Arc<Inode>)> = {
        let state = directory.state.lock();
        let pending =
            state.dir.as_deref().into_iter().flat_map(Dir::iter).filter_map(|(name, child)| match &child.link {
                Link::Pending(inode) if inode.kind == Kind::Directory => Some((name.clone(), inode.clone())),
                _ => None,
            });
        pending.collect()
    };
    let is_new = |inode: &Inode| {
        let state = inode.state.lock();
        let mut links = state.dir.as_deref().into_iter().flat_map(Dir::iter).map(|(_, child)| &child.link);
        !state.stored && !state.unlinked && links.all(|link| matches!(link, Link::Pending(_)))
    };
    children.into_iter().filter(|(_, inode)| is_new(inode)).collect()
}

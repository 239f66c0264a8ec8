//! Putting entries where the journal has them in the end.

use std::sync::Arc;

use crate::{
    Error, Result,
    posix::{
        FileSystem, Kind, attributes,
        dir::Child,
        inode::{Inode, ROOT},
        namespace::{check_empty, is_ancestor},
        replay::{
            Replay,
            plan::{Id, Plan, Planned},
        },
    },
};

/// Where an entry is to be.
struct Move<'a> {
    inode: Arc<Inode>,
    directory: Arc<Inode>,
    name: &'a str,
    mime: Option<&'a String>,
}

impl Replay<'_> {
    /// Does everything but writing.
    pub(super) fn apply(&mut self, plan: &Plan) -> Result<()> {
        // what is loaded stays so until all is done
        drop(self.fs.load_dir(&self.fs.inode(ROOT)?)?);
        let (mut moves, mut removals) = (Vec::new(), Vec::new());
        for (id, planned) in plan.entries().filter(|(_, planned)| planned.is_changed()) {
            let Some(inode) = self.find(*id, plan)? else {
                self.without_inode(planned, plan)?;
                continue;
            };
            if let (true, false, Some(content)) = (planned.is_written, planned.is_removed, &inode.content) {
                let _gate = self.fs.gate.change();
                content.lock().will_change();
                self.fs.mark(&inode, &mut inode.state.lock());
            }
            if planned.is_removed {
                if inode.kind == Kind::Directory {
                    drop(self.fs.load_dir(&inode)?);
                }
                removals.push(inode);
            } else if planned.is_placed
                && let Some((directory, name)) = planned.places.last()
            {
                let directory = self.surviving(*directory, plan)?;
                let name = name.as_str();
                moves.push(Move { inode, directory, name, mime: planned.mime.as_ref() });
            }
        }
        for inode in moves.iter().map(|change| &change.inode).chain(&removals) {
            self.fs.bring_back(inode)?;
        }
        for Move { inode, directory, .. } in &moves {
            drop(self.fs.load_dir(directory)?);
            let parent = inode.state.lock().parent.clone();
            parent.map_or(Ok(()), |parent| self.fs.load_dir(&parent).map(drop))?;
        }
        let moves = moves.into_iter().map(|change| self.bring_home(change)).collect::<Result<Vec<_>>>()?;
        let mut moves: Vec<Move<'_>> = moves.into_iter().flatten().collect();
        let _gate = self.fs.gate.close();
        moves.retain(|change| !change.is_done());
        moves.iter().for_each(|change| self.fs.take_out(&change.inode));
        // what is in directories before these
        removals.sort_by_cached_key(|inode| std::cmp::Reverse(depth(inode)));
        let removed: Vec<Removed> = removals.iter().filter_map(|inode| self.fs.remove_again(inode)).collect();
        for change in &moves {
            self.fs.put_again(change, &removed)?;
        }
        for (id, planned) in plan.entries() {
            if let Some(Some(inode)) = self.found.get(id) {
                self.fs.set_again(inode, planned);
            }
        }
        Ok(())
    }

    /// Gives an entry keys in the writing space of the directory that it is to be in. None if that cannot be.
    fn bring_home<'b>(&mut self, change: Move<'b>) -> Result<Option<Move<'b>>> {
        if change.inode.keys().top().writer == change.directory.keys().cap.writer {
            return Ok(Some(change));
        }
        match self.fs.rehome(&change.inode, &change.directory) {
            Ok(()) => Ok(Some(change)),
            Err(error) if error.is_of_one_entry() || matches!(error, Error::Errno(_)) => {
                tracing::error!(%error, "an entry cannot be moved again");
                self.is_lacking = true;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Moves or removes again what cannot be read, which its directory knows all the same.
    fn without_inode(&mut self, planned: &Planned, plan: &Plan) -> Result<()> {
        self.is_lacking |= planned.is_written && !planned.is_removed;
        let Some((target, new_name)) = planned.places.last() else { return Ok(()) };
        for (directory, name) in &planned.places {
            let Some(directory) = self.find(*directory, plan)? else { continue };
            let label = {
                let state = directory.state.lock();
                state.dir.as_ref().and_then(|dir| dir.get(name)).and_then(Child::label)
            };
            if !label.is_some_and(|label| planned.labels.contains(&label)) {
                continue;
            }
            let is_dir = || self.fs.damaged_child(&directory, name).map(|(_, kind)| kind == Kind::Directory);
            let done = if planned.is_removed {
                is_dir().and_then(|is_dir| self.fs.remove_damaged(&directory, name, is_dir))
            } else if planned.is_placed {
                let target = self.surviving(*target, plan)?;
                self.fs.rename_damaged(&directory, name, &target, new_name)
            } else {
                Ok(())
            };
            if let Err(error) = done {
                tracing::error!(%error, "what cannot be read can neither be moved nor removed again");
                self.is_lacking = true;
            }
            return Ok(());
        }
        Ok(())
    }

    /// The directory, or the nearest above it that is there.
    fn surviving(&mut self, mut id: Id, plan: &Plan) -> Result<Arc<Inode>> {
        let mut passed = Vec::new();
        loop {
            if let Some(directory) = self.find(id, plan)?
                && directory.kind == Kind::Directory
                && !plan.is_removed(id)
            {
                return Ok(directory);
            }
            tracing::warn!("a directory is gone; what was put into it is put into the one above");
            passed.push(id);
            let above = plan.get(id).and_then(|planned| planned.places.last()).map_or(self.home(), |(above, _)| *above);
            id = if passed.contains(&above) { self.home() } else { above };
        }
    }
}

impl Move<'_> {
    fn is_done(&self) -> bool {
        let state = self.inode.state.lock();
        let is_there = state.parent.as_ref().is_some_and(|parent| Arc::ptr_eq(parent, &self.directory));
        is_there && state.properties.name == self.name
    }
}

/// What was removed, and where.
struct Removed {
    inode: Arc<Inode>,
    directory: Arc<Inode>,
    name: String,
}

fn depth(inode: &Arc<Inode>) -> usize {
    let parent = |inode: &Arc<Inode>| inode.state.lock().parent.clone();
    std::iter::successors(parent(inode), parent).count()
}

impl FileSystem {
    /// Takes an entry out of its directory, for a moment.
    fn take_out(&self, inode: &Arc<Inode>) {
        let (parent, name) = {
            let state = inode.state.lock();
            (state.parent.clone(), state.properties.name.clone())
        };
        let Some(parent) = parent else { return };
        {
            let mut state = parent.state.lock();
            if let Some(dir) = &mut state.dir
                && dir.get(&name).is_some_and(|child| child.ino == inode.ino)
            {
                dir.remove(&name);
                state.changed = true;
                self.mark(&parent, &mut state);
            }
        }
        inode.set_parent(&mut inode.state.lock(), None);
    }

    /// Removes an entry, unless it is a directory in which something is.
    fn remove_again(&self, inode: &Arc<Inode>) -> Option<Removed> {
        let (directory, name) = {
            let state = inode.state.lock();
            if check_empty(inode, &state).is_err() {
                tracing::warn!(ino = inode.ino, "a directory was removed, and there is something in it: it stays");
                return None;
            }
            (state.parent.clone()?, state.properties.name.clone())
        };
        self.take_out(inode);
        let parent = directory.state.lock();
        self.unlinked(&directory, &parent, inode, &mut inode.state.lock());
        drop(parent);
        Some(Removed { inode: inode.clone(), directory, name })
    }

    /// Puts an entry into a directory; beside what is there, if that is something else.
    fn put_again(&self, change: &Move<'_>, removed: &[Removed]) -> Result<()> {
        let Move { inode, directory, name, mime } = change;
        // only where others moved directories as well
        let directory = if is_ancestor(inode, directory) { &self.inode(ROOT)? } else { directory };
        let name = {
            let mut state = directory.state.lock();
            let dir = state.dir.as_mut().ok_or(Error::Errno(libc::EAGAIN))?;
            let name = dir.insert_beside(name, inode)?;
            state.changed = true;
            self.mark(directory, &mut state);
            name
        };
        let replaced = removed.iter().find(|removed| {
            Arc::ptr_eq(&removed.directory, directory) && *removed.name == *name && removed.inode.content.is_some()
        });
        let replaced = replaced.map(|removed| removed.inode.clone()).filter(|inode| inode.state.lock().stored);
        let mut state = inode.state.lock();
        name.as_ref().clone_into(&mut state.properties.name);
        if let Some(mime) = mime {
            state.properties.mime.clone_from(mime);
        }
        (state.changed, state.link_changed) = (true, true);
        state.replaces = replaced.filter(|_| inode.kind != Kind::Directory);
        inode.set_parent(&mut state, Some(directory.clone()));
        self.mark(inode, &mut state);
        Ok(())
    }

    /// Gives an entry its attributes.
    pub(super) fn set_again(&self, inode: &Arc<Inode>, planned: &Planned) {
        if planned.posix.is_none() && planned.modified.is_none() || planned.is_removed {
            return;
        }
        let mut state = inode.state.lock();
        if let Some(posix) = &planned.posix {
            state.properties.posix.clone_from(posix);
        }
        attributes::set_modified(inode, &mut state.properties, planned.modified);
        state.changed = true;
        self.mark(inode, &mut state);
    }
}

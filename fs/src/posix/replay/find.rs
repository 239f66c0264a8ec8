//! Finding the entries that a journal speaks of: where it says that they were, where others may have moved them, or, if
//! nothing is stored of them, nowhere.

use std::sync::{Arc, atomic::Ordering};

use crate::{
    Error, Result,
    capability::{Capability, RelativeCapability},
    journal::Made,
    posix::{
        FileSystem, Kind,
        inode::{Inode, ROOT},
        noted::label_of,
        replay::{
            Replay,
            plan::{Id, Plan, Planned},
        },
    },
    space::Signer,
};

impl Replay<'_> {
    /// The home directory.
    pub(super) fn home(&self) -> Id {
        (self.fs.account.home.map_key, 0)
    }

    /// The entry, if it is stored, or can be made.
    pub(super) fn find(&mut self, id: Id, plan: &Plan) -> Result<Option<Arc<Inode>>> {
        if let Some(found) = self.found.get(&id) {
            return Ok(found.clone());
        }
        // whoever is asked for on the way to itself is not found there
        self.found.insert(id, None);
        let found = self.look_for(id, plan)?;
        if let (Some(inode), Some(logged)) = (&found, plan.get(id).and_then(|planned| planned.labels.last())) {
            let label = label_of(inode);
            if label != *logged {
                self.fs.aliases.lock().insert(label, *logged);
            }
        }
        self.found.insert(id, found.clone());
        Ok(found)
    }

    fn look_for(&mut self, id: Id, plan: &Plan) -> Result<Option<Arc<Inode>>> {
        if id == self.home() {
            return Ok(self.fs.inodes.reference(ROOT));
        }
        let Some(planned) = plan.get(id) else { return Ok(None) };
        let mut directories = Vec::new();
        for (directory, name) in planned.places.iter().rev() {
            let Some(directory) = self.find(*directory, plan)?.filter(|dir| dir.kind == Kind::Directory) else {
                continue;
            };
            if let Some(inode) = self.child(&directory, name, planned)? {
                return Ok(Some(inode));
            }
            directories.push(directory);
        }
        if let Some(stored) = self.stored(planned)? {
            // others have moved it
            for directory in &directories {
                let name = self.fs.name_in(directory, planned)?;
                if let Some(inode) = name.map(|name| self.child(directory, &name, planned)).transpose()?.flatten() {
                    return Ok(Some(inode));
                }
            }
            let elsewhere = self.fs.directory_above(&stored)?;
            if let Some((directory, name)) = elsewhere
                && let Some(inode) = self.child(&directory, &name, planned)?
            {
                return Ok(Some(inode));
            }
        }
        match &planned.made {
            Some(made) if !planned.is_removed => {
                let directory = directories.first().cloned();
                self.fs.make_again(made, directory.as_ref()).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The child of a directory, if it is the entry that is looked for.
    fn child(&self, directory: &Arc<Inode>, name: &str, planned: &Planned) -> Result<Option<Arc<Inode>>> {
        loop {
            let _loaded = self.fs.load_dir(directory)?;
            let ino = directory.state.lock().dir.as_ref().and_then(|dir| dir.get(name).map(|child| child.ino));
            if !ino.is_some_and(|ino| planned.labels.iter().any(|label| self.fs.inodes.number(label) == ino)) {
                return Ok(None);
            }
            match self.fs.child(directory, name) {
                Ok(inode) => {
                    if let Some(inode) = self.fs.inodes.reference(inode.ino) {
                        return Ok(Some(inode));
                    }
                }
                Err(error) if error.is_of_one_entry() => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// The capability under which something is stored of an entry.
    fn stored(&self, planned: &Planned) -> Result<Option<Capability>> {
        let caps = planned.cap.iter().chain(planned.made.as_ref().map(|made| &made.cap));
        for cap in caps {
            match self.fs.drive.spaces.node(cap) {
                Ok(Some(_)) => return Ok(Some(cap.clone())),
                Ok(None) => {}
                Err(error) if error.is_of_one_entry() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

impl FileSystem {
    /// The name that an entry has in a directory.
    fn name_in(&self, directory: &Arc<Inode>, planned: &Planned) -> Result<Option<Arc<str>>> {
        let _loaded = self.load_dir(directory)?;
        let numbers: Vec<u64> = planned.labels.iter().map(|label| self.inodes.number(label)).collect();
        let state = directory.state.lock();
        let mut children = state.dir.iter().flat_map(|dir| dir.iter());
        Ok(children.find(|(_, child)| numbers.contains(&child.ino)).map(|(name, _)| name.clone()))
    }

    /// Has an entry that others moved to a directory which was not in use be in that directory.
    pub(super) fn bring_back(&self, inode: &Inode) -> Result<()> {
        let (elsewhere, keys) = {
            let state = inode.state.lock();
            (state.elsewhere.clone().filter(|_| state.parent.is_none()), state.keys.clone())
        };
        let Some(elsewhere) = elsewhere else { return Ok(()) };
        let directory = match self.inodes.get(self.inodes.number(&elsewhere.map_key)) {
            Some(directory) => Some(directory),
            None => self.directory_above(keys.top())?.map(|(directory, _)| directory),
        };
        // when its children are loaded, it is found among them
        let Some(directory) = directory.filter(|directory| directory.kind == Kind::Directory) else { return Ok(()) };
        match self.load_dir(&directory) {
            // one that cannot be read is no reason not to mount
            Err(error) if error.is_of_one_entry() => Ok(()),
            loaded => loaded.map(drop),
        }
    }

    /// The directory that a stored entry says it is in, and its name there.
    fn directory_above(&self, cap: &Capability) -> Result<Option<(Arc<Inode>, String)>> {
        const DEEPEST: usize = 4096;
        let Some(stored) = self.drive.spaces.node(cap)? else { return Ok(None) };
        let opened = match stored.node.open(&cap.read) {
            Ok(opened) => opened,
            Err(_) => return Ok(None),
        };
        let mut names = vec![opened.properties.name];
        let (mut link, mut from): (Option<RelativeCapability>, _) = (opened.parent, cap.clone());
        while let Some(parent) = link.take().filter(|_| names.len() < DEEPEST) {
            from = parent.absolutise(&from)?;
            if from.map_key == self.account.home.map_key {
                break;
            }
            let Some(stored) = self.drive.spaces.node(&from)? else { return Ok(None) };
            let Ok(opened) = stored.node.open_from_parent(&from.read) else { return Ok(None) };
            names.push(opened.properties.name);
            link = opened.parent;
        }
        let mut directory = self.inode(ROOT)?;
        while names.len() > 1 {
            let Some(name) = names.pop() else { break };
            directory = match self.child(&directory, &name) {
                Ok(child) if child.kind == Kind::Directory => child,
                Err(Error::Errno(_)) | Ok(_) => return Ok(None),
                Err(error) if error.is_of_one_entry() => return Ok(None),
                Err(error) => return Err(error),
            };
        }
        Ok(names.pop().map(|name| (directory, name)))
    }

    /// An entry as it was made, in no directory yet, with a reference of the kernel's.
    fn make_again(&self, made: &Made<'_>, directory: Option<&Arc<Inode>>) -> Result<Arc<Inode>> {
        let home = Arc::new(self.account.home_signer.clone());
        let above: Option<Signer> = directory.and_then(|directory| directory.keys().signer.clone());
        let signer = above.into_iter().chain([home]).find(|signer| *signer.hash() == made.cap.writer);
        let inode = self.new_inode(made, signer)?;
        inode.lookups.store(1, Ordering::Relaxed);
        Ok(self.inodes.insert(inode))
    }
}

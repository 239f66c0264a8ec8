//! Committing a group: freezing what changed, building its nodes, writing them, and settling the inodes after it.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use rayon::prelude::*;

use crate::{
    Error, Result,
    cache::Plain,
    capability::{ChildLink, MapKey, RelativeCapability},
    commit,
    cryptree::{Properties, mime},
    posix::{
        FileSystem, Kind, attr,
        inode::{Child, Dir, Inode, Link, State},
    },
    space::Signer,
    tree::{
        Changes, ChunkState, DirChunk, DirUpdate, FileUpdate, Keys, LinkKeys, Sink,
        content::{self, Locations},
        seal_chunk, update_link,
    },
    writeback::{Buffer, Frozen, FrozenChunk, StoredContent},
};

/// What a group does with one inode.
struct Job {
    inode: Arc<Inode>,
    keys: Arc<Keys>,
    work: Work,
    /// The link node that must be written too: with its name, and the link to its directory.
    link: Option<(Arc<LinkKeys>, String, RelativeCapability)>,
}

enum Work {
    File {
        properties: Properties,
        parent: Option<RelativeCapability>,
        frozen: Frozen,
    },
    Dir {
        properties: Properties,
        parent: Option<RelativeCapability>,
        chunks: Vec<(usize, DirChunk, Vec<FrozenChild>)>,
    },
    /// Remove what is stored of it; the chunks' places are known for directories.
    Remove {
        places: Vec<MapKey>,
        removed_from: Option<Signer>,
    },
    Nothing,
}

/// A child of a directory in a group: its link, or what one is made of.
enum FrozenChild {
    Linked(Arc<ChildLink>),
    New { name: Arc<str>, ino: u64, keys: Arc<Keys>, properties: Properties },
}

/// What became of a job.
#[derive(Default)]
struct Done {
    changes: Changes,
    content: Option<(StoredContent, BTreeMap<u64, Arc<content::OpenChunk>>)>,
    links: Vec<(Arc<str>, u64, Arc<ChildLink>)>,
}

impl FileSystem {
    /// Commits the open group, and returns its number.
    ///
    /// # Errors
    /// Why it failed; everything is part of the open group again then.
    pub(super) fn commit_group(&self) -> Result<u64> {
        let (group, mut jobs, removals, transaction) = self.freeze();
        let transaction = match transaction {
            Some(transaction) => Ok(transaction),
            None => self.drive.node.start_transaction(&self.drive.owner).map_err(Error::from),
        };
        let result = transaction.and_then(|transaction| {
            let done = self.build(&mut jobs, &removals, &transaction)?;
            Ok((transaction, done))
        });
        match result {
            Ok((transaction, done)) => {
                self.upload.close(&transaction);
                for (job, done) in jobs.into_iter().zip(done) {
                    self.settle(job, Some(done));
                }
                *self.space_cache.lock() = None;
                Ok(group)
            }
            Err(error) => {
                self.removals.lock().extend(removals);
                for job in jobs {
                    self.settle(job, None);
                }
                self.schedule.touch();
                Err(error)
            }
        }
    }

    /// Closes the open group: from here on, changes belong to the next one.
    fn freeze(&self) -> (u64, Vec<Job>, Vec<(Signer, MapKey)>, Option<peergos_net::TransactionId>) {
        let _gate = self.gate.write();
        let group = self.schedule.close_group();
        let mut inodes = std::mem::take(&mut *self.queue.lock());
        for inode in &inodes {
            tell_mime(inode);
        }
        // telling mime types may have changed directories
        let mut parents = Vec::new();
        for inode in &inodes {
            let parent = inode.state.lock().parent.clone();
            if let Some(parent) = parent {
                let mut state = parent.state.lock();
                let relinked = state.dir.as_ref().is_some_and(Dir::is_dirty);
                if relinked && !state.queued {
                    state.queued = true;
                    parents.push(parent.clone());
                }
            }
        }
        inodes.extend(parents);
        let jobs = inodes.into_iter().map(freeze_inode).collect();
        (group, jobs, std::mem::take(&mut *self.removals.lock()), self.upload.rotate())
    }

    /// Builds and writes everything that a group changes.
    fn build(
        &self,
        jobs: &mut [Job],
        removals: &[(Signer, MapKey)],
        transaction: &peergos_net::TransactionId,
    ) -> Result<Vec<Done>> {
        let sink = |signer: &Signer, blocks| {
            commit::put(&self.drive, transaction, signer, peergos_crypto::cid::Codec::Raw, blocks)
        };
        // not in the pool: chunks are sealed there
        for job in &mut *jobs {
            if let Work::File { frozen, .. } = &mut job.work {
                await_seals(frozen);
            }
        }
        let mut done: Vec<Done> = jobs.par_iter_mut().map(|job| self.build_job(job, &sink)).collect::<Result<_>>()?;
        let mut changes = Changes::default();
        for part in &mut done {
            changes.merge(std::mem::take(&mut part.changes));
        }
        for (signer, key) in removals {
            changes.remove(signer, *key);
        }
        commit::write(&self.drive, transaction, changes)?;
        Ok(done)
    }

    fn build_job(&self, job: &mut Job, sink: Sink<'_>) -> Result<Done> {
        let mut done = Done::default();
        match std::mem::replace(&mut job.work, Work::Nothing) {
            Work::File { properties, parent, frozen } => {
                let size = frozen.size;
                let update = FileUpdate {
                    keys: job.keys.clone(),
                    properties: Properties { size, ..properties },
                    parent,
                    chunks: frozen.chunks.into_iter().map(|(index, chunk)| (index, state_of(chunk))).collect(),
                    locations: frozen.locations,
                    stored: frozen.stored.chunks,
                    content_changed: frozen.changed,
                    leaves: frozen.stored.leaves,
                };
                let built = update.build(&self.drive, sink)?;
                let stored = StoredContent { size, chunks: built.chunks, leaves: built.leaves };
                done.changes = built.changes;
                done.content = Some((stored, built.sealed));
            }
            Work::Dir { properties, parent, chunks } => {
                let mut finished = Vec::with_capacity(chunks.len());
                for (index, place, children) in chunks {
                    let links = children.into_iter().map(|child| link(&job.keys, child, &mut done.links));
                    finished.push((index, place, links.collect::<Result<Vec<_>>>()?));
                }
                let update = DirUpdate { keys: job.keys.clone(), properties, parent, chunks: finished };
                done.changes = update.build(&self.drive, sink)?;
            }
            Work::Remove { places, removed_from } => {
                self.build_removal(job, &places, removed_from, &mut done.changes)?
            }
            Work::Nothing => {}
        }
        if let Some((link, name, parent)) = job.link.take() {
            done.changes.merge(update_link(&self.drive, &link, &name, parent)?);
        }
        Ok(done)
    }

    /// Removes all that is stored of an entry (spec 03 §7.14).
    fn build_removal(
        &self,
        job: &Job,
        places: &[MapKey],
        removed_from: Option<Signer>,
        changes: &mut Changes,
    ) -> Result<()> {
        let signer = job.keys.signer()?;
        if let Some(content) = &job.inode.content {
            let (chunks, mut locations) = {
                let content = content.lock();
                (content.stored().chunks, content.locations.clone())
            };
            if job.inode.opens.load(Ordering::Relaxed) > 0 {
                self.pin(&job.inode, &job.keys, chunks, &mut locations)?;
            }
            if !job.keys.own_space {
                for index in 0..chunks {
                    changes.remove(signer, locations.get(&self.drive, &job.keys, index)?.0);
                }
            }
        }
        if job.keys.own_space {
            let owner = removed_from.ok_or(Error::ReadOnly)?;
            changes.space(&owner).disowned.push(signer.clone());
        } else {
            for place in places {
                changes.remove(signer, *place);
            }
        }
        if let Some(link) = &job.keys.link {
            changes.remove(link.signer.as_ref().ok_or(Error::ReadOnly)?, link.cap.map_key);
        }
        Ok(())
    }

    /// Opens all chunks of an unlinked file that somebody has open, before their nodes go.
    fn pin(&self, inode: &Inode, keys: &Keys, chunks: u64, locations: &mut Locations) -> Result<()> {
        let Some(content) = &inode.content else { return Ok(()) };
        let places = (0..chunks).map(|index| locations.get(&self.drive, keys, index)).collect::<Result<Vec<_>>>()?;
        let open = content::open_chunks(&self.drive, keys, &places)?;
        let open = (0..).zip(open).filter_map(|(index, open)| Some((index, Arc::new(open?))));
        content.lock().pin(open.collect());
        Ok(())
    }

    /// Moves what was written of an unlinked file out of memory, because no commit will.
    fn spill(&self, inode: &Inode) {
        let Some(content) = &inode.content else { return };
        let (keys, sink) = (inode.keys(), |signer: &Signer, blocks| self.upload.fragments(signer, blocks));
        let buffers = content.lock().buffers();
        for (index, buffer) in buffers {
            match seal_chunk(&self.drive, &keys, buffer.bytes(), buffer.bytes().len() as u64, &sink) {
                Ok(sealed) => drop(content.lock().sealed(index, &buffer, Some(Arc::new(sealed)))),
                Err(error) => tracing::warn!(%error, "an unlinked file stays in memory"),
            }
        }
    }

    /// Brings an inode to what it is after its group, committed or not.
    fn settle(&self, job: Job, done: Option<Done>) {
        let inode = job.inode;
        let committed = done.is_some();
        let (content_done, links) = done.map(|done| (done.content, done.links)).unwrap_or_default();
        let spills = {
            let mut state = inode.state.lock();
            state.flushing = false;
            let removed = committed && state.unlinked && !state.queued;
            state.stored = if removed { false } else { state.stored || committed };
            if let Some(dir) = &mut state.dir {
                dir.settle(committed);
                for (name, ino, link) in links {
                    dir.linked(&name, ino, link);
                }
            }
            if !committed {
                state.changed = true;
                state.link_changed = true;
                self.mark(&inode, &mut state);
            }
            state.unlinked && inode.opens.load(Ordering::Relaxed) > 0
        };
        if let Some(content) = &inode.content {
            match content_done {
                Some((stored, sealed)) => {
                    let clean = content.lock().committed(stored, &sealed);
                    for (open, buffer) in clean {
                        self.chunks.insert(*open.data.nonce(), Arc::new(Plain::Written(buffer)));
                    }
                }
                None if !committed => content.lock().failed(),
                None => {}
            }
        }
        if spills {
            self.spill(&inode);
        }
        self.inodes.drop_unused(inode);
    }
}

/// Tells a file's mime type by what was written at its front, and has its link made anew if that changed.
fn tell_mime(inode: &Arc<Inode>) {
    let (Kind::File, Some(content)) = (inode.kind, &inode.content) else { return };
    let mut state = inode.state.lock();
    let detected = {
        let content = content.lock();
        let Some(head) = content.head().filter(|_| content.is_changed()) else { return };
        mime::detect(&state.properties.name, head)
    };
    if state.unlinked || state.properties.mime == detected {
        return;
    }
    detected.clone_into(&mut state.properties.mime);
    let (parent, name) = (state.parent.clone(), state.properties.name.clone());
    drop(state);
    if let Some(parent) = parent
        && let Some(dir) = &mut parent.state.lock().dir
    {
        dir.relink(&name, inode);
    }
}

/// Takes an inode's changes into the group that is being closed.
fn freeze_inode(inode: Arc<Inode>) -> Job {
    let mut guard = inode.state.lock();
    let state = &mut *guard;
    state.queued = false;
    state.flushing = true;
    let keys = state.keys.clone();
    let changed = std::mem::take(&mut state.changed);
    let link_changed = std::mem::take(&mut state.link_changed);
    let mut link = None;
    let work = if state.unlinked {
        freeze_removal(state)
    } else {
        let parent = state.parent.clone();
        let parent_keys = parent.map(|parent| parent.keys());
        if link_changed && let (Some(node), Some(parent)) = (&keys.link, &parent_keys) {
            let parent_link = parent.parent_link(&node.cap.writer);
            link = Some((node.clone(), state.properties.name.clone(), parent_link));
        }
        let parent_link = match (&keys.link, &parent_keys) {
            (Some(node), _) => Some(node.parent_link(&keys.cap.writer)),
            (None, Some(parent)) => Some(parent.parent_link(&keys.cap.writer)),
            (None, None) => None,
        };
        match &inode.content {
            Some(content) => freeze_file(state, &mut content.lock(), parent_link, changed),
            None => freeze_dir(state, parent_link, changed),
        }
    };
    drop(guard);
    Job { inode, keys, work, link }
}

fn freeze_removal(state: &mut State) -> Work {
    if !state.stored {
        return Work::Nothing;
    }
    let places = state.dir.iter().flat_map(|dir| dir.locations().map(|location| location.0)).collect();
    Work::Remove { places, removed_from: state.removed_from.clone() }
}

fn freeze_file(
    state: &mut State,
    content: &mut crate::writeback::Content,
    parent: Option<RelativeCapability>,
    changed: bool,
) -> Work {
    if !changed && !content.is_changed() {
        return Work::Nothing;
    }
    let frozen = content.freeze();
    state.properties.modified = attr::protocol_time(content.modified);
    Work::File { properties: state.properties.clone(), parent, frozen }
}

fn freeze_dir(state: &mut State, parent: Option<RelativeCapability>, changed: bool) -> Work {
    let properties = state.properties.clone();
    let chunks: Vec<_> = state
        .dir
        .iter_mut()
        .flat_map(|dir| dir.freeze())
        .map(|(index, place, children)| {
            let children = children.into_iter().map(|(name, child)| freeze_child(name, child));
            (index, place, children.collect())
        })
        .collect();
    if chunks.is_empty() && !changed {
        return Work::Nothing;
    }
    Work::Dir { properties, parent, chunks }
}

fn freeze_child(name: &Arc<str>, child: &Child) -> FrozenChild {
    match &child.link {
        Link::Made(link) => FrozenChild::Linked(link.clone()),
        Link::Pending(inode) => {
            let state = inode.state.lock();
            let (keys, properties) = (state.keys.clone(), state.properties.clone());
            FrozenChild::New { name: name.clone(), ino: inode.ino, keys, properties }
        }
    }
}

/// The link of a child in its directory; a new one is noted in `made`.
fn link(
    directory: &Keys,
    child: FrozenChild,
    made: &mut Vec<(Arc<str>, u64, Arc<ChildLink>)>,
) -> Result<Arc<ChildLink>> {
    match child {
        FrozenChild::Linked(link) => Ok(link),
        FrozenChild::New { name, ino, keys, properties } => {
            let link = Arc::new(ChildLink::new(&directory.cap, keys.top(), &properties)?);
            made.push((name, ino, link.clone()));
            Ok(link)
        }
    }
}

/// Waits for the chunks that are being sealed; those that failed are sealed with the group.
fn await_seals(frozen: &mut Frozen) {
    for chunk in frozen.chunks.values_mut() {
        if let FrozenChunk::Sealing(buffer, seal) = chunk {
            *chunk = FrozenChunk::State(match seal.wait() {
                Some(sealed) => ChunkState::Sealed(sealed),
                None => ChunkState::Plain(buffer.clone()),
            });
        }
    }
}

fn state_of(chunk: FrozenChunk) -> ChunkState<Arc<Buffer>> {
    match chunk {
        FrozenChunk::State(state) => state,
        FrozenChunk::Sealing(buffer, _) => ChunkState::Plain(buffer),
    }
}

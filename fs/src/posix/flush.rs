//! Committing a group: building its nodes, writing them, and settling the inodes after it.

use std::{
    collections::{BTreeMap, HashSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
};

use peergos_crypto::cid::Codec;
use peergos_net::TransactionId;
use rayon::prelude::*;

use crate::{
    Error, Result,
    cache::Plain,
    capability::{ChildLink, MapKey},
    commit,
    cryptree::Properties,
    posix::{
        FileSystem,
        freeze::{FrozenChild, Group, Job, Work},
        inode::Inode,
    },
    space::Signer,
    tree::{
        Changes, ChunkState, DirUpdate, FileUpdate, Keys, Sink,
        content::{self, Locations},
        seal_chunk, update_link,
    },
    writeback::{Buffer, Frozen, FrozenChunk, StoredContent},
};

/// What became of a job.
#[derive(Default)]
struct Done {
    changes: Changes,
    content: Option<(StoredContent, BTreeMap<u64, Arc<content::OpenChunk>>)>,
    links: Vec<(Arc<str>, u64, Arc<ChildLink>)>,
}

/// How it went.
enum Outcome {
    /// It is committed.
    Committed(Done),
    /// The whole group failed.
    Failed,
    /// What is stored of this entry is damaged; it is left out, and the others are committed.
    LeftOut(Error),
}

impl FileSystem {
    /// Commits the open group, and returns its number.
    ///
    /// # Errors
    /// Why it failed; everything is part of the open group again then.
    pub(super) fn commit_group(&self) -> Result<u64> {
        let Group { number, mut jobs, removals, transaction } = self.freeze();
        let transaction = match transaction {
            Some(transaction) => Ok(transaction),
            None => self.drive.node.start_transaction(&self.drive.owner).map_err(Error::from),
        };
        let result = transaction.and_then(|transaction| {
            let build = AssertUnwindSafe(|| self.build(&mut jobs, &removals, &transaction));
            match catch_unwind(build).unwrap_or(Err(Error::Damaged("a commit met a bug: see the log"))) {
                Ok(outcomes) => Ok((transaction, outcomes)),
                Err(error) => {
                    self.upload.restore(transaction);
                    Err(error)
                }
            }
        });
        match result {
            Ok((transaction, outcomes)) => {
                self.upload.close(&transaction);
                for (job, outcome) in jobs.into_iter().zip(outcomes) {
                    self.settle(job, outcome);
                }
                *self.space_cache.lock() = None;
                Ok(number)
            }
            Err(error) => {
                self.removals.lock().extend(removals);
                for job in jobs {
                    self.settle(job, Outcome::Failed);
                }
                self.schedule.touch();
                Err(error)
            }
        }
    }

    /// Builds and writes everything that a group changes.
    fn build(
        &self,
        jobs: &mut [Job],
        removals: &[(Signer, MapKey)],
        transaction: &TransactionId,
    ) -> Result<Vec<Outcome>> {
        let sink = |signer: &Signer, blocks| commit::put(&self.drive, transaction, signer, Codec::Raw, blocks);
        // not in rayon's pool, which the seals need
        for job in &mut *jobs {
            if let Work::File { frozen, .. } = &mut job.work {
                frozen.await_seals();
            }
        }
        // directories come last: they do not link a new file that has to be left out
        let none = HashSet::new();
        let mut built: Vec<Option<Result<Done>>> = jobs
            .par_iter_mut()
            .map(|job| (!matches!(job.work, Work::Dir { .. })).then(|| self.build_job(job, &none, &sink)))
            .collect();
        let left_out =
            |(job, result): (&Job, &Option<Result<Done>>)| matches!(result, Some(Err(_))).then_some(job.inode.ino);
        let left_out: HashSet<u64> = jobs.iter().zip(&built).filter_map(left_out).collect();
        jobs.par_iter_mut().zip(&mut built).for_each(|(job, result)| {
            if result.is_none() {
                *result = Some(self.build_job(job, &left_out, &sink));
            }
        });
        let mut changes = Changes::default();
        let mut outcomes = Vec::with_capacity(built.len());
        for result in built.into_iter().flatten() {
            outcomes.push(match result {
                Ok(mut done) => {
                    changes.merge(std::mem::take(&mut done.changes));
                    Outcome::Committed(done)
                }
                Err(error) if error.is_of_one_entry() => Outcome::LeftOut(error),
                Err(error) => return Err(error),
            });
        }
        for (signer, key) in removals {
            changes.remove(signer, *key);
        }
        commit::write(&self.drive, transaction, changes)?;
        Ok(outcomes)
    }

    fn build_job(&self, job: &mut Job, left_out: &HashSet<u64>, sink: Sink<'_>) -> Result<Done> {
        let mut done = Done::default();
        match std::mem::replace(&mut job.work, Work::Nothing) {
            Work::File { properties, parent, frozen } => {
                if self.schedule.has_failed() {
                    self.check_sealed(&frozen)?;
                }
                let size = frozen.size;
                let update = FileUpdate {
                    keys: job.keys.clone(),
                    properties: Properties { size, ..properties },
                    parent,
                    chunks: frozen.chunks.into_iter().map(|(index, chunk)| (index, chunk.into_state())).collect(),
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
                for (index, place, mut children) in chunks {
                    children.retain(|child| !matches!(child, FrozenChild::New { ino, .. } if left_out.contains(ino)));
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

    /// Checks that chunks which were sealed before a commit failed are still with the node.
    fn check_sealed(&self, frozen: &Frozen) -> Result<()> {
        for chunk in frozen.chunks.values() {
            if let FrozenChunk::State(ChunkState::Sealed(sealed)) = chunk {
                for (cid, bat) in sealed.open.data.fragments() {
                    let stored = self.drive.node.node().get_block(&self.drive.owner, cid, bat.as_ref())?;
                    stored.ok_or_else(|| peergos_net::Error::MissingBlock(cid.clone()))?;
                }
            }
        }
        Ok(())
    }

    /// Removes all that is stored of an entry, as far as it can be found (spec 03 §7.14).
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
            if job.inode.opens.load(Ordering::Relaxed) > 0
                && let Err(error) = self.pin(&job.inode, &job.keys, chunks, &mut locations)
            {
                tracing::warn!(%error, "an unlinked file cannot be read to its end");
            }
            if !job.keys.own_space {
                for index in 0..chunks {
                    let Ok((key, _)) = locations.get(&self.drive, &job.keys, index) else { break };
                    changes.remove(signer, key);
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
                Err(error) => {
                    tracing::warn!(%error, "an unlinked file stays in memory");
                    *self.spill_error.lock() = Some(error.errno());
                }
            }
        }
    }

    /// Brings an inode to what it is after its group.
    fn settle(&self, job: Job, outcome: Outcome) {
        let inode = job.inode;
        let committed = matches!(outcome, Outcome::Committed(_));
        let (spills, parent, name) = {
            let mut state = inode.state.lock();
            state.flushing = false;
            if committed {
                state.stored = !job.removes;
            }
            if let Some(dir) = &mut state.dir {
                dir.settle(committed);
            }
            if !committed {
                state.changed = true;
                state.link_changed = true;
            }
            match &outcome {
                Outcome::Committed(done) => {
                    if let Some(dir) = &mut state.dir {
                        for (name, ino, link) in &done.links {
                            dir.linked(name, *ino, link.clone());
                        }
                    }
                }
                Outcome::Failed => self.mark(&inode, &mut state),
                Outcome::LeftOut(error) => {
                    tracing::error!(%error, ino = inode.ino, "an entry could not be saved, because what is stored of it is damaged");
                    state.left_out = Some(error.errno());
                }
            }
            let spills = state.unlinked && inode.opens.load(Ordering::Relaxed) > 0;
            (spills, state.parent.clone(), state.properties.name.clone())
        };
        if let Some(content) = &inode.content {
            match outcome {
                Outcome::Committed(Done { content: Some((stored, sealed)), .. }) => {
                    let clean = content.lock().committed(stored, &sealed);
                    for (open, buffer) in clean {
                        self.chunks.insert(*open.data.nonce(), Arc::new(Plain::Written(buffer)));
                    }
                }
                Outcome::Committed(_) => {}
                Outcome::Failed | Outcome::LeftOut(_) => content.lock().failed(job.content_changed, |open| {
                    let plain = self.chunks.get(open.data.nonce())?;
                    Some(Arc::new(Buffer::from_slice(&self.budget, &plain)))
                }),
            }
        }
        // a new entry that was left out is linked when it is saved after all
        if inode.state.lock().left_out.is_some()
            && let Some(parent) = parent
            && let Some(dir) = &mut parent.state.lock().dir
        {
            dir.touch(&name);
        }
        if spills {
            self.spill(&inode);
        }
        self.inodes.drop_unused(inode);
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

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
    capability::{ChildLink, MapKey},
    commit::{self, Written},
    cryptree::Properties,
    posix::{
        FileSystem,
        freeze::{FrozenChild, Group, Job, Work},
        inode::Inode,
    },
    space::Signer,
    tree::{
        CHUNK, Changes, ChunkState, DirUpdate, FileUpdate, Keys, Sink,
        content::{self, Locations},
        seal_chunk, update_link,
    },
    writeback::{Buffer, Frozen, FrozenChunk, StoredContent},
};

/// What became of a job.
#[derive(Default)]
pub(super) struct Done {
    changes: Changes,
    /// Of a file, what the node holds of it, and the chunks that changed.
    pub content: Option<(StoredContent, BTreeMap<u64, Arc<content::OpenChunk>>)>,
    /// Of a directory, the links that were made, with name and inode number.
    pub links: Vec<(Arc<str>, u64, Arc<ChildLink>)>,
}

/// How it went.
pub(super) enum Outcome {
    /// It is committed.
    Committed(Done),
    /// The whole group failed.
    Failed,
    /// What is stored of this entry is damaged; it is left out, and the others are committed.
    LeftOut(Error),
}

/// A group whose pointers were sent without an answer: committed or failed, which remains to be asked.
pub(super) struct Unanswered {
    pointers: commit::Unanswered,
    built: Built,
}

/// A group whose blocks are stored.
struct Built {
    jobs: Vec<Job>,
    outcomes: Vec<Outcome>,
    removals: Vec<(Signer, MapKey)>,
    transaction: TransactionId,
}

impl FileSystem {
    /// Commits the open group, and returns its number.
    ///
    /// # Errors
    /// Why it failed; everything is part of the open group again then.
    pub(super) fn commit_group(&self) -> Result<u64> {
        self.settle_unanswered()?;
        let Group { number, mut jobs, removals, transaction } = self.freeze();
        let transaction = match transaction {
            Some(transaction) => Ok(transaction),
            None => self.drive.node.start_transaction(&self.drive.owner).map_err(Error::from),
        };
        let result = transaction.and_then(|transaction| {
            let build = AssertUnwindSafe(|| self.build(&mut jobs, &removals, &transaction));
            match catch_unwind(build).unwrap_or(Err(Error::Damaged("a commit met a bug: see the log"))) {
                Ok(built) => Ok((transaction, built)),
                Err(error) => {
                    self.upload.restore(transaction);
                    Err(error)
                }
            }
        });
        match result {
            Ok((transaction, (outcomes, Written::Committed))) => {
                self.committed(Built { jobs, outcomes, removals, transaction });
                Ok(number)
            }
            Ok((transaction, (outcomes, Written::Unanswered(pointers, error)))) => {
                let open = self.schedule.touch();
                jobs.iter().for_each(|job| job.inode.group.store(open, Ordering::Relaxed));
                let built = Built { jobs, outcomes, removals, transaction };
                *self.unanswered.lock() = Some(Unanswered { pointers, built });
                Err(error)
            }
            Err(error) => {
                self.failed(jobs, removals);
                Err(error)
            }
        }
    }

    /// Finds out what became of a group whose commit got no answer.
    fn settle_unanswered(&self) -> Result<()> {
        let mut unanswered = self.unanswered.lock();
        let Some(Unanswered { pointers, .. }) = &*unanswered else { return Ok(()) };
        let are_set = pointers.ask(&self.drive)?;
        if let Some(Unanswered { built, .. }) = unanswered.take() {
            if are_set {
                self.committed(built);
            } else {
                self.upload.restore(built.transaction);
                self.failed(built.jobs, built.removals);
            }
        }
        Ok(())
    }

    fn committed(&self, built: Built) {
        let Built { jobs, outcomes, transaction, .. } = built;
        let needed_on = jobs.iter().zip(&outcomes).any(|(job, outcome)| {
            matches!(outcome, Outcome::LeftOut(_)) || job.inode.is_open() && job.inode.state.lock().unlinked
        });
        // chunks that no pointer reaches are still read: they are left to the node's clock
        if !needed_on {
            self.upload.close(&transaction);
        }
        for (job, outcome) in jobs.into_iter().zip(outcomes) {
            self.settle(job, outcome);
        }
        *self.space_cache.lock() = None;
    }

    fn failed(&self, jobs: Vec<Job>, removals: Vec<(Signer, MapKey)>) {
        self.removals.lock().extend(removals);
        for job in jobs {
            self.settle(job, Outcome::Failed);
        }
        self.schedule.touch();
    }

    /// Builds and writes everything that a group changes.
    fn build(
        &self,
        jobs: &mut [Job],
        removals: &[(Signer, MapKey)],
        transaction: &TransactionId,
    ) -> Result<(Vec<Outcome>, Written)> {
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
        let is_left_out = |(job, result): &(&Job, &Option<Result<Done>>)| {
            matches!(result, Some(Err(_))) && !job.inode.state.lock().stored
        };
        let left_out = jobs.iter().zip(&built).filter(is_left_out).map(|(job, _)| job.inode.ino);
        let left_out: HashSet<u64> = left_out.collect();
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
        let written = commit::write(&self.drive, transaction, changes)?;
        Ok((outcomes, written))
    }

    fn build_job(&self, job: &mut Job, left_out: &HashSet<u64>, sink: Sink<'_>) -> Result<Done> {
        let mut done = Done::default();
        match std::mem::replace(&mut job.work, Work::Nothing) {
            Work::File { properties, parent, mut frozen } => {
                if self.schedule.error().is_some() {
                    self.check_sealed(&mut frozen)?;
                }
                self.seal(job, &mut frozen, sink)?;
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

    /// Checks that chunks which were sealed before a commit failed are still with the node. Those that are not are
    /// sealed again, if their plaintext is still here.
    fn check_sealed(&self, frozen: &mut Frozen) -> Result<()> {
        for chunk in frozen.chunks.values_mut() {
            let FrozenChunk::State(ChunkState::Sealed(sealed)) = chunk else { continue };
            for (cid, bat) in sealed.open.data.fragments() {
                if self.drive.node.node().get_block(&self.drive.owner, cid, bat.as_ref())?.is_none() {
                    let plain = self.chunks.get(sealed.open.data.nonce());
                    let plain = plain.ok_or_else(|| peergos_net::Error::MissingBlock(cid.clone()))?;
                    *chunk = FrozenChunk::State(ChunkState::Plain(Arc::new(Buffer::from_slice(&self.budget, &plain))));
                    break;
                }
            }
        }
        Ok(())
    }

    /// Seals the chunks of a file that are not yet, noting those whose fragments need not be stored again if the group
    /// fails.
    fn seal(&self, job: &mut Job, frozen: &mut Frozen, sink: Sink<'_>) -> Result<()> {
        for (&index, chunk) in &mut frozen.chunks {
            let FrozenChunk::State(state) = chunk else { continue };
            let plain: &[u8] = match state {
                ChunkState::Plain(buffer) => buffer.bytes(),
                ChunkState::Hole => &[],
                ChunkState::Sealed(_) => continue,
            };
            let len = frozen.size.saturating_sub(index * CHUNK).min(CHUNK);
            let sealed = Arc::new(seal_chunk(&self.drive, &job.keys, plain, len, sink)?);
            let state = std::mem::replace(state, ChunkState::Sealed(sealed.clone()));
            if !sealed.open.data.fragments().is_empty() {
                job.sealed.push((index, state, sealed));
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
            if job.inode.is_open()
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

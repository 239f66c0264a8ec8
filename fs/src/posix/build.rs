//! From what a group changes to nodes and fragments. Contents come first; where there is no room for one, it waits for
//! another group, and the rest, which may make room, is committed.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use peergos_crypto::cid::{Cid, Codec};
use peergos_net::{Block, TransactionId};
use rayon::prelude::*;

use crate::{
    Error, Result,
    capability::ChildLink,
    commit::{self, Priority, Targets, Written},
    cryptree::Properties,
    posix::{
        FileSystem,
        departure::Departure,
        freeze::{FrozenChild, Job, Journalled, SealedHere, Work},
    },
    space::Signer,
    tree::{
        CHUNK, Changes, ChunkState, DirUpdate, FileUpdate, Keys, SealedChunk, Sink, content, seal_chunk, update_link,
    },
    writeback::{Buffer, Frozen, FrozenChunk, StoredContent},
};

/// For how long sealed chunks are surely with the node: a part of the time for which it protects what no pointer reaches.
const SAFE: Duration = Duration::from_secs(3600);

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
    /// There is no room for its content, with this errno; what else changed of it is committed if there is something.
    NoRoom(i32, Option<Done>),
    /// It is removed when what takes its place is stored.
    Postponed,
}

/// What a commit takes besides its jobs.
struct Others<'a> {
    departures: &'a [Arc<Departure>],
    journalled: Option<Journalled>,
    transaction: &'a TransactionId,
}

impl Outcome {
    fn of(result: Result<Done>) -> Result<Self> {
        match result {
            Ok(done) => Ok(Self::Committed(done)),
            Err(error) if error.is_of_one_entry() => Ok(Self::LeftOut(error)),
            Err(error) => Err(error),
        }
    }

    const fn changes(&self) -> Option<&Changes> {
        match self {
            Self::Committed(done) | Self::NoRoom(_, Some(done)) => Some(&done.changes),
            _ => None,
        }
    }
}

impl FileSystem {
    /// Builds and writes everything that a group changes.
    pub(super) fn build(
        &self,
        jobs: &mut [Job],
        departures: &[Arc<Departure>],
        journalled: Option<Journalled>,
        transaction: &TransactionId,
    ) -> Result<(Vec<Outcome>, Written)> {
        // not in rayon's pool, which the seals need
        for job in &mut *jobs {
            if let Work::File { frozen, .. } = &mut job.work {
                frozen.await_seals();
            }
        }
        let sink = |signer: &Signer, blocks| {
            commit::put(&self.drive, transaction, signer, Codec::Raw, blocks, Priority::Ordinary)
        };
        let files = jobs.par_iter_mut().map(|job| {
            if !matches!(job.work, Work::File { .. }) {
                return Ok(None);
            }
            match self.build_file(job, &sink) {
                Err(error) if error.is_no_room() => self.leave_content_out(job, error).map(Some),
                result => Outcome::of(result).map(Some),
            }
        });
        let mut files: Vec<Option<Outcome>> = self.in_parallel(|| files.collect::<Result<_>>())?;
        let adds =
            |job: &Job, file: &Option<Outcome>| job.content_changed && matches!(file, Some(Outcome::Committed(_)));
        let added = jobs.iter().zip(&files).any(|(job, file)| adds(job, file));
        let priority = if added { Priority::Ordinary } else { Priority::Vital };
        let others = Others { departures, journalled, transaction };
        let finished = match self.finish(jobs, &files, &others, priority) {
            Err(error) if added && error.is_no_room() => {
                for (job, file) in jobs.iter().zip(&mut files).filter(|(job, file)| adds(job, file)) {
                    *file = Some(self.leave_content_out(job, Error::Errno(error.errno()))?);
                }
                self.finish(jobs, &files, &others, Priority::Vital)?
            }
            result => result?,
        };
        let (rest, written) = finished;
        Ok((files.into_iter().zip(rest).filter_map(|(file, rest)| file.or(rest)).collect(), written))
    }

    /// What is committed of a file whose content finds no room.
    ///
    /// # Errors
    /// `error` if nothing can be: that would leave neither what the file replaces nor the file.
    fn leave_content_out(&self, job: &Job, error: Error) -> Result<Outcome> {
        let Work::File { properties, parent, changed, frozen } = &job.work else { return Err(error) };
        if !job.inode.state.lock().stored {
            return Ok(Outcome::NoRoom(error.errno(), None));
        }
        let Some(modified) = frozen.stored.modified.filter(|_| job.replaces.is_none()) else { return Err(error) };
        if !changed {
            return Ok(Outcome::NoRoom(error.errno(), None));
        }
        let update = FileUpdate::<Arc<Buffer>> {
            keys: job.keys.clone(),
            properties: Properties { size: frozen.stored.size, modified, ..properties.clone() },
            parent: parent.clone(),
            chunks: BTreeMap::new(),
            locations: frozen.locations.clone(),
            stored: frozen.stored.chunks,
            content_changed: false,
            leaves: None,
        };
        let no_content = |_: &Signer, _| Ok(());
        let built = update.build(&self.drive, &no_content).and_then(|built| {
            let mut done = Done { changes: built.changes, ..Done::default() };
            self.build_link(job, &mut done)?;
            Ok(done)
        });
        Ok(match Outcome::of(built)? {
            Outcome::Committed(done) => Outcome::NoRoom(error.errno(), Some(done)),
            left_out => left_out,
        })
    }

    /// Builds directories and removals, and writes all that changes.
    fn finish(
        &self,
        jobs: &[Job],
        files: &[Option<Outcome>],
        others: &Others<'_>,
        priority: Priority,
    ) -> Result<(Vec<Option<Outcome>>, Written)> {
        let Others { departures, journalled, transaction } = *others;
        let sink =
            |signer: &Signer, blocks| commit::put(&self.drive, transaction, signer, Codec::Raw, blocks, priority);
        // a new file that is left out is not linked, and does not replace anything
        let is_left_out = |(job, file): &(&Job, &Option<Outcome>)| {
            !matches!(file, None | Some(Outcome::Committed(_))) && !job.inode.state.lock().stored
        };
        let left_out = || jobs.iter().zip(files).filter(is_left_out).map(|(job, _)| job);
        let postponed: HashSet<u64> = left_out().filter_map(|job| Some(job.replaces.as_ref()?.ino)).collect();
        let left_out: HashSet<u64> = left_out().map(|job| job.inode.ino).collect();
        let rest = jobs.par_iter().zip(files).map(|(job, file)| match file {
            Some(_) => Ok(None),
            None if job.removes && postponed.contains(&job.inode.ino) => Ok(Some(Outcome::Postponed)),
            None => Outcome::of(self.build_rest(job, &left_out, &sink)).map(Some),
        });
        let rest: Vec<Option<Outcome>> = self.in_parallel(|| rest.collect::<Result<_>>())?;
        let mut changes = Changes::default();
        for outcome in files.iter().zip(&rest).filter_map(|(file, rest)| file.as_ref().or(rest.as_ref())) {
            if let Some(theirs) = outcome.changes() {
                changes.merge(theirs.clone());
            }
        }
        for (signer, key) in departures.iter().flat_map(|departure| &departure.removals) {
            changes.remove(signer, *key);
        }
        let mut outcomes = files.iter().zip(&rest).filter_map(|(file, rest)| file.as_ref().or(rest.as_ref()));
        let is_complete = outcomes.all(|outcome| matches!(outcome, Outcome::Committed(_)));
        let announce = |targets: Targets| self.note_committing(journalled, is_complete, targets);
        let written = commit::write(&self.drive, transaction, changes, priority, &announce)?;
        Ok((rest, written))
    }

    /// Has rayon do work on as many threads as are worth having.
    fn in_parallel<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match &self.builders {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }

    fn build_file(&self, job: &mut Job, sink: Sink<'_>) -> Result<Done> {
        check_read(job)?;
        let Work::File { properties, parent, frozen, .. } = &mut job.work else { return Ok(Done::default()) };
        self.check_sealed(frozen)?;
        let chunks = self.seal(&job.keys, frozen, &mut job.sealed, sink)?;
        let Frozen { size, changed, stored, locations, .. } = &*frozen;
        let update = FileUpdate {
            keys: job.keys.clone(),
            properties: Properties { size: *size, ..properties.clone() },
            parent: parent.clone(),
            chunks,
            locations: locations.clone(),
            stored: stored.chunks,
            content_changed: *changed,
            leaves: stored.leaves.clone(),
        };
        let built = update.build(&self.drive, sink)?;
        let modified = Some(properties.modified);
        let stored = StoredContent { size: *size, chunks: built.chunks, leaves: built.leaves, modified };
        let mut done = Done { changes: built.changes, content: Some((stored, built.sealed)), links: Vec::new() };
        self.build_link(job, &mut done)?;
        Ok(done)
    }

    fn build_rest(&self, job: &Job, left_out: &HashSet<u64>, sink: Sink<'_>) -> Result<Done> {
        check_read(job)?;
        let mut done = Done::default();
        match &job.work {
            Work::Dir { properties, parent, chunks } => {
                let mut finished = Vec::with_capacity(chunks.len());
                for (index, place, children) in chunks {
                    let links = children.iter().filter_map(|child| link(&job.keys, child, left_out, &mut done.links));
                    finished.push((*index, place.clone(), links.collect::<Result<Vec<_>>>()?));
                }
                let (properties, parent) = (properties.clone(), parent.clone());
                let update = DirUpdate { keys: job.keys.clone(), properties, parent, chunks: finished };
                done.changes = update.build(&self.drive, sink)?;
            }
            Work::Remove { places, removed_from } => {
                self.build_removal(job, places, removed_from.as_ref(), &mut done.changes)?
            }
            Work::File { .. } | Work::Nothing => {}
        }
        self.build_link(job, &mut done)?;
        Ok(done)
    }

    /// Updates the link node of the root of a writing space.
    fn build_link(&self, job: &Job, done: &mut Done) -> Result<()> {
        if let Some((link, name, parent)) = &job.link {
            done.changes.merge(update_link(&self.drive, link, name, parent.clone())?);
        }
        Ok(())
    }

    /// Checks that chunks which were sealed long ago, or before a commit failed, are still with the node. Those that are
    /// not are sealed again, if their plaintext is still here.
    fn check_sealed(&self, frozen: &mut Frozen) -> Result<()> {
        let has_failed = self.schedule.error().is_some();
        for chunk in frozen.chunks.values_mut() {
            let (FrozenChunk::State(ChunkState::Sealed(sealed)) | FrozenChunk::Swapped(_, Some(sealed))) = &*chunk
            else {
                continue;
            };
            if !has_failed && sealed.age() < SAFE {
                continue;
            }
            let Some(cid) = self.missing_fragment(sealed)? else { continue };
            *chunk = match chunk {
                FrozenChunk::Swapped(swapped, _) => FrozenChunk::Swapped(swapped.clone(), None),
                _ => {
                    let plain = self.chunks.get(sealed.open.data.nonce());
                    let plain = plain.ok_or(peergos_net::Error::MissingBlock(cid))?;
                    FrozenChunk::State(ChunkState::Plain(Arc::new(Buffer::from_slice(&self.budget, &plain))))
                }
            };
        }
        Ok(())
    }

    /// A fragment of a chunk that the node does not have, or has damaged, if there is one.
    fn missing_fragment(&self, sealed: &SealedChunk) -> Result<Option<Cid>> {
        let wanted = sealed.open.data.fragments();
        // not what is remembered of them
        let found = self.drive.node.node().get_blocks(&self.drive.owner, wanted)?;
        let is_missing = |cid: &Cid, data: Option<Bytes>| data.is_none_or(|data| Block::verified(cid, data).is_err());
        let missing = wanted.iter().zip(found).find_map(|((cid, _), data)| is_missing(cid, data).then_some(cid));
        Ok(missing.cloned())
    }

    /// Seals the chunks of a file that are not yet, noting in `noted` those whose fragments need not be stored again if
    /// they are not committed.
    fn seal(
        &self,
        keys: &Keys,
        frozen: &mut Frozen,
        noted: &mut Vec<SealedHere>,
        sink: Sink<'_>,
    ) -> Result<BTreeMap<u64, ChunkState<Arc<Buffer>>>> {
        let mut chunks = BTreeMap::new();
        for (index, chunk) in std::mem::take(&mut frozen.chunks) {
            let len = frozen.size.saturating_sub(index * CHUNK).min(CHUNK);
            let seal = |plain: &[u8]| Ok::<_, Error>(Arc::new(seal_chunk(&self.drive, keys, plain, len, sink)?));
            let sealed = match &chunk {
                FrozenChunk::State(ChunkState::Sealed(sealed)) | FrozenChunk::Swapped(_, Some(sealed)) => {
                    chunks.insert(index, ChunkState::Sealed(sealed.clone()));
                    continue;
                }
                FrozenChunk::State(ChunkState::Plain(buffer)) | FrozenChunk::Sealing(buffer, _) => {
                    seal(buffer.bytes())?
                }
                FrozenChunk::State(ChunkState::Hole) => seal(&[])?,
                FrozenChunk::Swapped(swapped, None) => seal(&swapped.read()?)?,
            };
            if !sealed.open.data.fragments().is_empty() {
                noted.push((index, chunk, sealed.clone()));
            }
            chunks.insert(index, ChunkState::Sealed(sealed));
        }
        Ok(chunks)
    }
}

/// Checks that an entry can be written without destroying what others made of it.
fn check_read(job: &Job) -> Result<()> {
    match job.inode.state.lock().unread {
        true => Err(Error::Damaged("what another client made of an entry cannot be read")),
        false => Ok(()),
    }
}

/// The link of a child in its directory; a new one is noted in `made`. For a child that is left out, the link of what it
/// replaces.
fn link(
    directory: &Keys,
    child: &FrozenChild,
    left_out: &HashSet<u64>,
    made: &mut Vec<(Arc<str>, u64, Arc<ChildLink>)>,
) -> Option<Result<Arc<ChildLink>>> {
    let new = |keys: &Keys, properties| Ok(Arc::new(ChildLink::new(&directory.cap, keys.top(), properties)?));
    match child {
        FrozenChild::Linked(link) => Some(Ok(link.clone())),
        FrozenChild::New { ino, instead, .. } if left_out.contains(ino) => {
            instead.as_ref().map(|(keys, properties)| new(keys, properties))
        }
        FrozenChild::New { name, ino, keys, properties, .. } => {
            let link = new(keys, properties);
            if let Ok(link) = &link {
                made.push((name.clone(), *ino, link.clone()));
            }
            Some(link)
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::{ffi::OsStr, path::Path, time::SystemTime};

    use peergos_net::{EmbeddedNode, Node as _, Verified};

    use super::*;
    use crate::{
        account::{self, Account, Step},
        posix::{Caller, Options, inode::ROOT},
        uptime,
    };

    /// A new account on a new node in `dir`.
    pub(in crate::posix) fn sign_up(dir: &Path) -> (Arc<EmbeddedNode>, Account) {
        let node = Arc::new(EmbeddedNode::open(dir).unwrap());
        let account = account::sign_up(&*node, "ada", "a password", "", SystemTime::now(), &mut |_: Step| {}).unwrap();
        (node, account)
    }

    /// The file system of an account, without a kernel.
    pub(in crate::posix) fn open(node: &Arc<EmbeddedNode>, account: &Account) -> Arc<FileSystem> {
        let options = Options {
            cache_bytes: 64 << 20,
            dirty_bytes: 64 << 20,
            // nothing is committed before it is asked for
            commit_interval: Duration::from_secs(3600),
            commit_idle: Duration::from_secs(3600),
            journal: None,
            poll_interval: None,
            pins: None,
            read_only: false,
            show_hidden: false,
            uid: 0,
            gid: 0,
        };
        FileSystem::open(Arc::new(Verified::new(node.clone(), Default::default())), account.clone(), options).unwrap()
    }

    #[test]
    fn what_was_sealed_before_a_long_sleep_is_not_committed_without_its_fragments() {
        let dir = tempfile::tempdir().unwrap();
        let (node, account) = sign_up(dir.path());
        let fs = open(&node, &account);
        let caller = Caller { uid: 0, gid: 0, umask: 0 };
        let (attr, handle) = fs.create(ROOT, OsStr::new("f"), 0o600, libc::O_RDWR, caller).unwrap();
        let content = vec![7; CHUNK as usize];
        for (part, at) in content.chunks(1 << 20).zip((0..).step_by(1 << 20)) {
            fs.write(handle, at, part).unwrap();
        }
        // what is sealed no longer counts
        while fs.dirty_bytes() > 0 {
            std::thread::yield_now();
        }
        // the node has lost its patience
        node.close_transaction(&fs.drive.owner, &fs.upload.transaction().unwrap()).unwrap();
        node.collect_garbage().unwrap();
        uptime::sleep(24 * SAFE);
        fs.fsync(attr.ino).unwrap();
        fs.release(handle);
        fs.shutdown().unwrap();

        let fs = open(&node, &account);
        let handle = fs.open_file(fs.lookup(ROOT, OsStr::new("f")).unwrap().ino, libc::O_RDONLY).unwrap();
        for (part, at) in content.chunks(1 << 20).zip((0..).step_by(1 << 20)) {
            fs.read(handle, at, 1 << 20, |read| assert!(read == part)).unwrap();
        }
        fs.shutdown().unwrap();
    }
}

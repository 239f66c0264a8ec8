//! The encrypted tree as a POSIX file system: inodes, attributes, handles, durability. Not tied to FUSE: the adapter in
//! [`crate::fuse`] only translates, and tests call this directly.
//!
//! Changes land in memory and are visible at once. They belong to the open group (see [`crate::commit`]), which
//! [`flush`] freezes, builds and commits. Operations that change something pass the [`gate`]; freezing closes it, so that
//! a group is a state that existed at one moment.

mod ahead;
mod attr;
mod attributes;
mod build;
mod crowd;
mod damaged;
mod departure;
mod dir;
mod edit;
mod exchange;
mod flush;
mod freeze;
mod gate;
mod handles;
mod inode;
mod io;
mod keeper;
mod kind;
mod listing;
mod lookup;
mod names;
mod namespace;
mod noted;
mod offline;
mod pace;
mod ranges;
mod refresh;
mod rehome;
mod rekey;
mod replay;
mod settle;
mod space;
mod status;
mod unlinked;
mod unload;
mod virtual_files;
mod xattr;

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use parking_lot::Mutex;
use peergos_net::Verified;
use rayon::{ThreadPool, ThreadPoolBuilder};

pub use attr::{Attr, Caller, SetAttr, StatFs};
pub use kind::Kind;
pub use listing::DirEntry;
pub use refresh::Stale;
pub use status::Status;

use crate::{
    Error, Result,
    account::Account,
    cache::Chunks,
    capability::MapKey,
    commit::{Limits, Schedule, Upload},
    error::errno,
    journal::Journal,
    pins::Pins,
    posix::{
        ahead::Ahead,
        damaged::Damaged,
        departure::Departure,
        dir::Dir,
        gate::Gate,
        handles::Handles,
        inode::{Inode, Inodes, ROOT, State},
        keeper::Keeper,
        pace::Pace,
        refresh::Poller,
        space::Space,
        virtual_files::VirtualFiles,
    },
    tree::{self, Drive},
    turns,
    writeback::{Budget, Swap, Workers},
};

/// How many changed inodes close a group.
const MAX_GROUP: usize = 4096;
/// How many changed inodes are waited for before there are more, lest memory grow with every entry that is made.
const MAX_QUEUE: usize = 2 * MAX_GROUP;
/// How long the kernel may remember that there is no entry of some name. Meanwhile the names that there are stay in memory.
pub(crate) const NONE_REMEMBERED: Duration = Duration::from_secs(10);

/// How many requests the fragments of a chunk are.
const FRAGMENTS: usize = 5;
/// The most threads that build a group: each may have a chunk in memory.
const BUILDERS: usize = 16;
/// How many chunks are fetched ahead at once.
const FETCHERS: usize = 4;

/// How a drive is mounted.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes of decrypted chunks to keep.
    pub cache_bytes: usize,
    /// Bytes of written data to hold before writers wait for a commit.
    pub dirty_bytes: usize,
    /// The longest time that a change stays uncommitted.
    pub commit_interval: Duration,
    /// How long nothing must have changed for an earlier commit.
    pub commit_idle: Duration,
    /// Where what is not committed is noted; nowhere, if it may be lost.
    pub journal: Option<JournalOptions>,
    /// How often to ask for what other clients committed; never, if nobody else can.
    pub poll_interval: Option<Duration>,
    /// Where the list of what is pinned is; none where everything is on this machine anyway.
    pub pins: Option<PathBuf>,
    /// Refuse all changes.
    pub read_only: bool,
    /// Show the protocol's own entries, read-only.
    pub show_hidden: bool,
    /// Owner of what has no stored owner.
    pub uid: u32,
    /// Group of what has no stored group.
    pub gid: u32,
}

/// How what is not committed is noted.
#[derive(Debug, Clone)]
pub struct JournalOptions {
    /// The folder of the account's journal.
    pub dir: PathBuf,
    /// The bytes that it may have before writers wait for a commit.
    pub bytes: u64,
    /// The bytes that it may have while the node is out of reach, with those of written data that have left memory.
    pub offline_bytes: u64,
    /// Whether fsync waits for the journal only, and not for the commit.
    pub fsync: bool,
}

/// What a mounted drive is keeping in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Entries that are in use, or whose changes are not committed.
    pub inodes: usize,
    /// Names in directories.
    pub names: usize,
    /// Open files and directories.
    pub open: usize,
    /// Bytes of written data that are only in memory.
    pub dirty_bytes: u64,
}

/// A mounted drive.
pub struct FileSystem {
    drive: Arc<Drive>,
    account: Arc<Account>,
    options: Options,
    inodes: Inodes,
    damaged: Damaged,
    handles: Handles,
    gate: Gate,
    /// The inodes that the open group changes.
    queue: Mutex<Vec<Arc<Inode>>>,
    /// What is not committed, on the disk.
    journal: Option<Journal>,
    /// Whether changes that were found in the journal are being made again.
    replaying: AtomicBool,
    /// What the journal calls entries that are made again, where that is not their label: they had got other keys.
    aliases: Mutex<HashMap<MapKey, MapKey>>,
    /// The numbers of inodes that were left out of a group, and are in no later one.
    unsaved: Mutex<HashSet<u64>>,
    /// Held while a group is committed, or what others committed is taken in.
    committing: Mutex<()>,
    /// Takes what the kernel has to forget.
    listener: Mutex<Option<mpsc::Sender<Stale>>>,
    /// Whether another client has moved anything to a directory that was not in use.
    moved: AtomicBool,
    poller: Mutex<Option<Poller>>,
    pins: Option<Pins>,
    keeper: Mutex<Option<Keeper>>,
    /// How often others' changes were taken in.
    taken_in: AtomicU64,
    /// The group before, if it got no answer.
    unanswered: Mutex<Option<flush::Unanswered>>,
    /// What the next group removes besides: old places of entries that got new keys.
    departures: Mutex<Vec<Arc<Departure>>>,
    pace: Pace,
    schedule: Schedule,
    upload: Arc<Upload>,
    budget: Arc<Budget>,
    /// Encrypt and store chunks ahead of their commit.
    sealers: Workers,
    /// Build what is committed to a server, for whose answers they wait most of the time.
    builders: Option<ThreadPool>,
    /// Where written data goes that must leave memory before it can be committed.
    swap: Option<Arc<Swap>>,
    /// Held by who moves it there.
    swapping: Mutex<()>,
    /// Fetch chunks and directories ahead of those who read them.
    fetchers: Workers,
    ahead: Arc<Ahead>,
    /// This value, for what is done in the background.
    weak: Weak<Self>,
    chunks: Arc<Chunks>,
    /// Why written data of an unlinked file had to stay in memory.
    spill_error: Mutex<Option<i32>>,
    virtual_files: VirtualFiles,
    space: Arc<Space>,
    committer: Mutex<Option<JoinHandle<()>>>,
}

fn no_thread(error: std::io::Error) -> Error {
    Error::Errno(error.raw_os_error().unwrap_or(libc::EAGAIN))
}

/// Threads to build groups with, where the node takes several requests at a time.
fn builders(parallelism: usize) -> Result<Option<ThreadPool>> {
    let builder = || ThreadPoolBuilder::new().num_threads(parallelism.min(BUILDERS)).thread_name(|_| "build".into());
    (parallelism > 1).then(|| builder().build().map_err(|_| Error::Errno(libc::EAGAIN))).transpose()
}

impl FileSystem {
    /// Opens the home directory of `account` on `node`, and starts the thread that commits.
    ///
    /// # Errors
    /// [`Error::Net`], [`Error::Dangling`] and the like if the home directory cannot be read.
    pub fn open(node: Arc<Verified>, account: Account, options: Options) -> Result<Arc<Self>> {
        let journal = match &options.journal {
            Some(kept) if !options.read_only => Some(Journal::open(&kept.dir, &account, kept.bytes)?),
            Some(kept) => {
                if Journal::is_waiting(&kept.dir) {
                    tracing::warn!(
                        "changes that were not saved when the drive was last mounted wait for a mount that may write"
                    );
                }
                None
            }
            None => None,
        };
        let drive = Arc::new(Drive::new(node, &account));
        if let Some(journal) = &journal {
            replay::prepare(journal, &drive, options.poll_interval.is_some())?;
        }
        let swap =
            journal.as_ref().and(options.journal.as_ref()).map(|kept| Swap::new(kept.dir.clone())).transpose()?;
        let home = tree::load(&drive, account.home.clone(), Some(&Arc::new(account.home_signer.clone())))?;
        let pins = options.pins.clone().map(|file| Pins::open(file, &account)).transpose()?;
        let account = Arc::new(account);
        let budget = Budget::new(options.dirty_bytes);
        let root = Arc::new(lookup::inode(ROOT, home, None, &budget));
        let space = Space::of(drive.clone(), account.clone())?;
        let parallelism = drive.node.node().parallelism();
        let sealers = thread::available_parallelism()
            .and_then(|count| Workers::start("seal", count.get() + parallelism / FRAGMENTS))
            .map_err(no_thread)?;
        let builders = builders(parallelism)?;
        let fetchers = Workers::start("fetch", FETCHERS).map_err(no_thread)?;
        let file_system = Arc::new_cyclic(|weak| Self {
            weak: weak.clone(),
            ahead: Arc::default(),
            inodes: Inodes::new(drive.owner.clone()),
            damaged: Damaged::default(),
            handles: Handles::default(),
            gate: Gate::default(),
            queue: Mutex::default(),
            committing: Mutex::default(),
            listener: Mutex::default(),
            moved: AtomicBool::new(false),
            poller: Mutex::default(),
            pins,
            keeper: Mutex::default(),
            taken_in: AtomicU64::new(0),
            journal,
            swap,
            swapping: Mutex::default(),
            replaying: AtomicBool::new(false),
            aliases: Mutex::default(),
            unsaved: Mutex::default(),
            unanswered: Mutex::default(),
            departures: Mutex::default(),
            pace: Pace::default(),
            schedule: Schedule::new(Limits { interval: options.commit_interval, idle: options.commit_idle }),
            upload: Arc::new(Upload::new(drive.clone())),
            chunks: Arc::new(Chunks::new(options.cache_bytes, budget.clone())),
            spill_error: Mutex::default(),
            virtual_files: VirtualFiles::default(),
            space,
            committer: Mutex::default(),
            sealers,
            builders,
            fetchers,
            budget,
            drive,
            account,
            options,
        });
        file_system.inodes.insert(root);
        let committing = file_system.clone();
        let thread = thread::Builder::new()
            .name("commit".into())
            .spawn(move || committing.schedule.run(|| committing.commit_group(), || committing.sweep_journal()))
            .map_err(no_thread)?;
        *file_system.committer.lock() = Some(thread);
        if let Err(error) = file_system.replay() {
            // a part of it must not be committed as if it were all
            file_system.schedule.abandon();
            let committer = file_system.committer.lock().take();
            let _ended = committer.map(JoinHandle::join);
            return Err(error);
        }
        if let Some(interval) = file_system.options.poll_interval {
            *file_system.poller.lock() = Some(Poller::start(&file_system, interval)?);
        }
        if file_system.pins.is_some() {
            *file_system.keeper.lock() = Some(Keeper::start(&file_system)?);
        }
        Ok(file_system)
    }

    /// Commits everything and stops the thread that commits.
    ///
    /// # Errors
    /// The reason why the last commit failed, or why an entry could not be saved; what was not saved is lost then, if
    /// there is no journal.
    pub fn shutdown(&self) -> Result<()> {
        drop(self.poller.lock().take());
        drop(self.keeper.lock().take());
        self.ahead.close();
        // also what is under way may leave something out
        let mut result = self.sync();
        if self.inodes.all().iter().any(|inode| inode.state.lock().left_out.is_some()) {
            // there may be room by now
            for inode in self.inodes.all() {
                let _change = self.gate.change();
                let mut state = inode.state.lock();
                if state.left_out.is_some() {
                    self.mark(&inode, &mut state);
                }
            }
            result = self.sync();
        }
        self.schedule.stop();
        if let Some(thread) = self.committer.lock().take()
            && thread.join().is_err()
        {
            return Err(Error::Damaged("the commit thread died: see the log"));
        }
        // the thread tries once more when it stops
        match (result, self.schedule.error()) {
            (result, Some(error)) => {
                self.journal().map_or(Ok(()), Journal::sync)?;
                return result.and(errno(error.errno()));
            }
            _ => self.inodes.all().iter().try_for_each(|inode| inode.check_saved())?,
        }
        // what changed nothing in the end is in no group
        if let Some(journal) = self.journal()
            && let Some(last) = journal.close_group()
        {
            journal.remove_until(last);
        }
        Ok(())
    }

    /// Bytes of written data that are only in memory.
    pub fn dirty_bytes(&self) -> u64 {
        self.budget.used() as u64
    }

    /// What is kept in memory now.
    pub fn stats(&self) -> Stats {
        let inodes = self.inodes.all();
        let names = inodes.iter().filter_map(|inode| inode.state.lock().dir.as_deref().map(Dir::len)).sum();
        Stats { inodes: inodes.len(), names, open: self.handles.len(), dirty_bytes: self.dirty_bytes() }
    }

    /// Commits everything that has changed so far, and waits for it.
    ///
    /// # Errors
    /// As [`FileSystem::fsync`], also if something could not be saved.
    pub fn sync(&self) -> Result<()> {
        if self.schedule.error().is_some() {
            // what was left out
            self.schedule.touch();
        }
        self.wait_for(self.schedule.open_group())?;
        self.schedule.error().map_or(Ok(()), |error| errno(error.errno()))?;
        let unsaved: Vec<u64> = self.unsaved.lock().iter().copied().collect();
        unsaved.into_iter().filter_map(|ino| self.inodes.get(ino)).try_for_each(|inode| inode.check_saved())
    }

    /// Waits until an inode and the path to it are committed (fsync, fsyncdir), or are in the journal on the disk, if
    /// that is enough, or the node is out of reach.
    ///
    /// # Errors
    /// Why the commit failed; the changes are kept, and tried again.
    pub fn fsync(&self, ino: u64) -> Result<()> {
        let inode = self.inode(ino)?;
        if let Some(journal) = self.journal()
            && self.options.journal.as_ref().is_some_and(|kept| kept.fsync)
        {
            turns::pass();
            return journal.sync();
        }
        let path = || std::iter::successors(Some(inode.clone()), |inode| inode.state.lock().parent.clone());
        for inode in path() {
            let _change = self.gate.change();
            let mut state = inode.state.lock();
            // there may be room by now
            if state.left_out.is_some() && state.queued {
                self.mark(&inode, &mut state);
            }
        }
        self.wait_until_safe(path().map(|inode| inode.group.load(Ordering::Relaxed)).max().unwrap_or(0))?;
        path().find_map(|inode| inode.state.lock().left_out).map_or(Ok(()), errno)
    }

    fn wait_for(&self, group: u64) -> Result<()> {
        self.schedule.wait(group).map_err(|error| Error::Errno(error.errno()))
    }

    /// An inode by number.
    fn inode(&self, ino: u64) -> Result<Arc<Inode>> {
        let none = || self.damaged.get(ino).map_or(libc::ESTALE, |_| libc::EIO);
        self.inodes.get(ino).ok_or_else(|| self.unknown(ino, none()))
    }

    /// Notes that the open group changes `inode`.
    fn mark(&self, inode: &Arc<Inode>, state: &mut State) {
        inode.group.store(self.schedule.touch(), Ordering::Relaxed);
        self.enqueue(inode, state);
    }

    /// Puts `inode` into the open group, without a reason to commit that soon.
    fn enqueue(&self, inode: &Arc<Inode>, state: &mut State) {
        if !state.queued {
            state.queued = true;
            let mut queue = self.queue.lock();
            queue.push(inode.clone());
            if queue.len() >= MAX_GROUP {
                self.schedule.request();
            }
        }
    }

    /// Waits where the open group is far too large because the one before is still being committed. Where commits fail, it
    /// grows.
    fn wait_for_queue(&self) {
        if self.queue.lock().len() >= MAX_QUEUE && self.schedule.error().is_none() {
            // who made those entries learns of failures from fsync
            let _ = self.wait_for(self.schedule.open_group());
        }
    }

    /// Whether `inode` may be changed at all.
    fn check_writable(&self, inode: &Inode) -> Result<()> {
        if self.options.read_only {
            return errno(libc::EROFS);
        }
        let state = inode.state.lock();
        if state.protected {
            return errno(libc::EPERM);
        }
        if state.unread {
            return errno(libc::EIO);
        }
        state.keys.signer().map(|_| ())
    }
}

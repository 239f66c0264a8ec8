//! The way through a whole tree: directories chunk by chunk, and the files in them, by several threads at once. What is
//! still to be looked at is a stack, so that little of it waits at a time.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use parking_lot::{Condvar, Mutex};
use peergos_crypto::signing::KeyHash;
use peergos_net::owned;

use crate::{
    Error, Result,
    account::Account,
    capability::{Capability, ChildLink},
    check::{
        Finding, Kind, Orphan, Orphans, Progress, Repair, Report,
        labels::{Claim, Labels, Unreached},
        orphans::{is_old, show},
        uploads,
    },
    space::{Location, Signer},
    tree::{self, Drive, Entry, Keys},
};

/// How many threads look at entries. Each holds a chunk of content at most.
const THREADS: usize = 8;
/// How many children of a directory are loaded together.
const WINDOW: usize = 100;

/// Something to look at.
enum Work {
    /// A chunk of a directory: its number and place.
    Directory { keys: Arc<Keys>, path: Arc<str>, index: u64, at: Location },
    /// What a file holds.
    File { entry: Box<Entry>, path: String },
}

#[derive(Default)]
struct Stack {
    work: Vec<Work>,
    /// How many threads are at work, and may add to it.
    busy: usize,
    /// Why the walk ends before its time.
    failure: Option<Error>,
}

/// A walk through the tree of one account as it is at one time.
pub(super) struct Walk<'a> {
    pub drive: &'a Drive,
    pub labels: Labels<'a>,
    pub progress: &'a Progress,
    pub now: SystemTime,
    /// Whether all that could lead to anything was read.
    is_complete: AtomicBool,
    findings: Mutex<Vec<Finding>>,
    repairs: Mutex<Vec<Repair>>,
    signers: Mutex<HashMap<KeyHash, Signer>>,
    stack: Mutex<Stack>,
    /// Wakes threads when there is work, or none any more.
    changed: Condvar,
}

impl<'a> Walk<'a> {
    pub fn new(drive: &'a Drive, progress: &'a Progress, now: SystemTime) -> Self {
        progress.entries.store(0, Ordering::Relaxed);
        progress.bytes.store(0, Ordering::Relaxed);
        Self {
            drive,
            labels: Labels::new(drive),
            progress,
            now,
            is_complete: AtomicBool::new(true),
            findings: Mutex::default(),
            repairs: Mutex::default(),
            signers: Mutex::default(),
            stack: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Looks at everything.
    ///
    /// # Errors
    /// [`Error::Net`] if the node cannot be asked.
    pub fn all(self, account: &Account, orphans: &mut Orphans) -> Result<(Report, Vec<Repair>)> {
        self.spaces()?;
        if let Some(home) = self.judge("/", self.home(account))? {
            self.found(home, "/");
        }
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| self.work());
            }
        });
        let Self { drive, labels, progress, is_complete, findings, repairs, signers, stack, now, .. } = self;
        if let Some(failure) = stack.into_inner().failure {
            return Err(failure);
        }
        let mut ending = Ending {
            findings: findings.into_inner(),
            repairs: repairs.into_inner(),
            signers: signers.into_inner(),
            is_complete: is_complete.into_inner(),
        };
        ending.unreached(drive, labels.unreached()?, orphans, now);
        let entries = progress.entries.load(Ordering::Relaxed);
        Ok((Report { findings: ending.findings, entries, is_unsettled: false }, ending.repairs))
    }

    /// Finds the writing spaces of the account, and what is in them.
    fn spaces(&self) -> Result<()> {
        let owner = &self.drive.owner;
        let source = self.drive.node.of(owner);
        let mut writers = vec![owner.clone()];
        for owned in owned::walk(&source, owner) {
            let found = owned.map(|owned| owned.writer).map_err(Error::from);
            writers.extend(self.judge("/", found)?);
        }
        for writer in writers {
            match self.labels.load(&writer) {
                // it was deleted, or never used
                Err(Error::SpaceGone(_)) => {}
                loaded => drop(self.judge("/", loaded)?),
            }
        }
        Ok(())
    }

    fn home(&self, account: &Account) -> Result<Entry> {
        let cap = account.home.clone();
        self.reach(&cap)?;
        tree::load(self.drive, cap, Some(&Arc::new(account.home_signer.clone())))
    }

    /// Says that a link leads to `cap`.
    ///
    /// # Errors
    /// [`Error::Dangling`] if nothing is there; [`Error::Damaged`] if another link leads there as well.
    fn reach(&self, cap: &Capability) -> Result<()> {
        match self.labels.load(&cap.writer) {
            Err(Error::SpaceGone(_)) => return Err(Error::Dangling),
            // said when its labels were first read
            Err(error) if !error.is_of_one_entry() => return Err(error),
            _ => {}
        }
        match self.labels.claim(&cap.writer, cap.map_key) {
            Claim::First => Ok(()),
            Claim::Again => Err(Error::Damaged("two links lead to one entry")),
            Claim::Absent => Err(Error::Dangling),
        }
    }

    /// Reports what is wrong with one entry; an error that has nothing to do with the entry ends the walk.
    pub fn judge<T>(&self, path: &str, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_of_one_entry() => {
                let kind = if matches!(error, Error::Dangling) { Kind::Dangling } else { Kind::Damaged };
                self.report(kind, path, || error.to_string());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Reports a finding, and returns its number.
    pub fn report(&self, kind: Kind, path: &str, text: impl FnOnce() -> String) -> usize {
        if matches!(kind, Kind::Dangling | Kind::Damaged) {
            self.is_complete.store(false, Ordering::Relaxed);
        }
        let mut findings = self.findings.lock();
        findings.push(Finding { kind, path: path.to_owned(), text: text(), repaired: false });
        findings.len() - 1
    }

    pub fn mend(&self, repair: Repair) {
        self.repairs.lock().push(repair);
    }

    fn work(&self) {
        let mut stack = self.stack.lock();
        loop {
            if stack.failure.is_some() {
                return;
            }
            let Some(work) = stack.work.pop() else {
                if stack.busy == 0 {
                    return;
                }
                self.changed.wait(&mut stack);
                continue;
            };
            stack.busy += 1;
            drop(stack);
            let done = match work {
                Work::Directory { keys, path, index, at } => self.directory(&keys, &path, index, at),
                Work::File { entry, path } => self.file(&entry, &path),
            };
            stack = self.stack.lock();
            stack.busy -= 1;
            if let Err(failure) = done {
                stack.failure.get_or_insert(failure);
            }
            self.changed.notify_all();
        }
    }

    fn push(&self, work: Work) {
        self.stack.lock().work.push(work);
        self.changed.notify_one();
    }

    /// Takes an entry that was loaded.
    fn found(&self, mut entry: Entry, path: &str) {
        self.progress.entries.fetch_add(1, Ordering::Relaxed);
        let keys = &entry.keys;
        if let Some(signer) = &keys.signer {
            self.signers.lock().entry(signer.hash().clone()).or_insert_with(|| signer.clone());
        }
        if keys.own_space {
            self.labels.begins(&keys.cap.writer, path);
        }
        if entry.properties.is_dir {
            let at = (keys.cap.map_key, keys.cap.bat.clone());
            let path = if path == "/" { Arc::default() } else { path.into() };
            self.push(Work::Directory { keys: Arc::new(entry.keys), path, index: 0, at });
        } else {
            // not needed, and large
            entry.properties.thumbnail = None;
            self.push(Work::File { entry: Box::new(entry), path: path.to_owned() });
        }
    }

    fn directory(&self, keys: &Arc<Keys>, path: &Arc<str>, index: u64, at: Location) -> Result<()> {
        let shown = if path.is_empty() { "/" } else { path };
        let cap = keys.cap.at(at.0, at.1);
        let opened = self.drive.spaces.node(&cap).and_then(|stored| {
            let node = stored.ok_or(Error::Dangling)?.node;
            Ok((node.open(&cap.read)?.next, node))
        });
        let Some((next, node)) = self.judge(shown, opened)? else { return Ok(()) };
        match self.labels.claim(&cap.writer, next.map_key) {
            Claim::Absent => {}
            Claim::Again => {
                self.report(Kind::Damaged, shown, || "the chunks of this directory form a circle".to_owned());
            }
            Claim::First => {
                let (keys, path, at) = (keys.clone(), path.clone(), (next.map_key, next.bat));
                self.push(Work::Directory { keys, path, index: index + 1, at });
            }
        }
        let listed = tree::chunk_children(self.drive, &cap, &node);
        let Some(links) = self.judge(shown, listed)? else { return Ok(()) };
        for window in links.chunks(WINDOW) {
            self.children(keys, path, window)?;
        }
        Ok(())
    }

    fn children(&self, directory: &Keys, path: &str, links: &[ChildLink]) -> Result<()> {
        let mut present: Vec<&ChildLink> = Vec::with_capacity(links.len());
        for link in links {
            let cap = link.cap.absolutise(&directory.cap).map_err(Error::from);
            let reached = cap.and_then(|cap| self.reach(&cap));
            present.extend(self.judge(&format!("{path}/{}", link.name), reached)?.map(|()| link));
        }
        let entries = tree::load_children(self.drive, directory, &present);
        for (link, entry) in present.into_iter().zip(entries) {
            let path = format!("{path}/{}", link.name);
            let entry = entry.and_then(|entry| {
                entry.further_links.iter().try_for_each(|link| self.reach(link))?;
                if entry.keys.link.is_some() {
                    self.reach(&entry.keys.cap)?;
                }
                Ok(entry)
            });
            if let Some(entry) = self.judge(&path, entry)? {
                self.found(entry, &path);
            }
        }
        Ok(())
    }

    /// Whether this is the note of an upload.
    pub fn is_note(path: &str) -> bool {
        path.starts_with(uploads::FOLDER)
    }
}

/// What remains to be said when everything was looked at.
struct Ending {
    findings: Vec<Finding>,
    repairs: Vec<Repair>,
    signers: HashMap<KeyHash, Signer>,
    is_complete: bool,
}

impl Ending {
    fn report(&mut self, kind: Kind, path: String, text: String) {
        self.findings.push(Finding { kind, path, text, repaired: false });
    }

    /// Reports what nothing leads to, and has it removed if it is old, and if nothing is missing to which it could belong.
    fn unreached(&mut self, drive: &Drive, unreached: Vec<Unreached>, notes: &mut Orphans, now: SystemTime) {
        let mut orphans = Vec::new();
        for Unreached { writer, root, nodes } in unreached {
            match root {
                // the identity's own space has no entries
                None if writer == drive.owner && nodes.is_empty() => {}
                None => {
                    let text = format!("nothing leads to the writing space {writer}, which has {} nodes", nodes.len());
                    self.report(Kind::UnusedSpace, "/".to_owned(), text);
                }
                Some(root) => orphans.extend(
                    nodes
                        .into_iter()
                        .map(|(label, node)| (root.clone(), Orphan { writer: writer.clone(), label, node })),
                ),
            }
        }
        let (roots, orphans): (Vec<_>, Vec<_>) = orphans.into_iter().unzip();
        let ages = notes.meet(&orphans, now);
        for ((root, orphan), age) in roots.into_iter().zip(orphans).zip(ages) {
            let finding = self.findings.len();
            self.report(Kind::Orphan, root, self.say(&orphan, age));
            if is_old(age)
                && self.is_complete
                && let Some(signer) = self.signers.get(&orphan.writer)
            {
                self.repairs.push(Repair { finding, signer: signer.clone(), nodes: vec![(orphan.label, None)] });
            }
        }
    }

    fn say(&self, orphan: &Orphan, age: Duration) -> String {
        let since = match (is_old(age), self.is_complete) {
            (_, false) => "it may belong to what cannot be read".to_owned(),
            (true, true) => format!("known for {}", show(age)),
            (false, true) => format!("known for {}, and may be on its way to the tree", show(age)),
        };
        format!("nothing leads to the node {:?}: {since}", orphan.label)
    }
}

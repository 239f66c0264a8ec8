//! Random work in a folder that others may work in too, and a record of what must not get lost by it.
//!
//! Files consist of lines, each with the number of the file that it was written to and its own. A line whose fsync
//! returned must be found at the end, in whichever file, unless somebody removed or replaced its file later than it was
//! begun to be written.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Arguments;
use std::fs::{self, File};
use std::io::{self, Error, ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, StatxFlags, statx};

use super::content::Rng;
use super::tree::Tree;

/// What all workers have done.
#[derive(Default)]
pub struct Ledger {
    /// Counts moments, files and lines.
    counter: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The lines that were fsynced.
    synced: Vec<Line>,
    /// When something that had been at that path, or that had these lines, was last removed.
    removed: HashMap<u64, u64>,
    /// The files that ever were at a path.
    been: HashMap<PathBuf, HashSet<u64>>,
    /// The files that were written to an inode of a mount.
    written: HashMap<Inode, HashSet<u64>>,
    /// What was done, in order of its end.
    history: Vec<String>,
}

/// A worker's root, and the number of an inode there.
type Inode = (PathBuf, u64);

/// A line of a file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
struct Line {
    file: u64,
    /// The moment at which it was begun to be written.
    began: u64,
}

impl Line {
    fn parse(text: &str) -> Option<Self> {
        let (file, rest) = text.split_once(' ')?;
        let (began, _) = rest.split_once(' ')?;
        Some(Self { file: file.parse().ok()?, began: began.parse().ok()? })
    }
}

impl Ledger {
    fn moment(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::SeqCst)
    }

    fn been(&self, path: &Path, files: impl IntoIterator<Item = u64>) {
        self.state.lock().unwrap().been.entry(path.to_owned()).or_default().extend(files);
    }

    /// Somebody has just removed the file at `path` that had `files` in it, and was `inode`.
    fn removed(&self, path: &Path, files: &HashSet<u64>, inode: &Inode) {
        let now = self.moment();
        let mut state = self.state.lock().unwrap();
        let been = state.been.get(path).into_iter().flatten();
        // what another worker began to write to it when `files` were already read
        let written = state.written.get(inode).into_iter().flatten();
        let all: HashSet<u64> = files.iter().chain(been).chain(written).copied().collect();
        state.removed.extend(all.into_iter().map(|file| (file, now)));
    }

    fn note(&self, event: String) {
        let event = format!("{} {event}", self.counter.load(Ordering::SeqCst));
        self.state.lock().unwrap().history.push(event);
    }

    /// How many lines were fsynced.
    pub fn synced(&self) -> usize {
        self.state.lock().unwrap().synced.len()
    }

    /// Demands that everything is there that must be.
    pub fn verify(&self, root: &Path) {
        let mut found = HashSet::new();
        for path in Tree::read(root).0.keys() {
            if let Ok(content) = fs::read_to_string(root.join(path)) {
                found.extend(content.lines().filter_map(Line::parse));
            }
        }
        let state = self.state.lock().unwrap();
        let is_due = |line: &&Line| state.removed.get(&line.file).is_none_or(|removed| line.began > *removed);
        let due: BTreeSet<&Line> = state.synced.iter().filter(is_due).collect();
        let lost: Vec<_> = due.iter().filter(|line| !found.contains(line)).collect();
        let history = if lost.is_empty() { String::new() } else { state.history.join("\n") };
        assert!(lost.is_empty(), "{} of {} synced lines are lost: {lost:?}\n{history}", lost.len(), due.len());
        println!("{} lines synced, {} of them due, {} found", state.synced.len(), due.len(), found.len());
        assert!(due.len() > 20, "the load does nothing: {} lines synced, {} due", state.synced.len(), due.len());
    }
}

/// One client's user.
pub struct Worker<'a> {
    name: &'static str,
    root: PathBuf,
    ledger: &'a Ledger,
    rng: Rng,
    bears_absence: bool,
}

impl<'a> Worker<'a> {
    /// Works below `root`.
    pub fn new(name: &'static str, root: PathBuf, ledger: &'a Ledger, seed: u64) -> Self {
        Self { name, root, ledger, rng: Rng::new(seed), bears_absence: false }
    }

    /// Bears with EIO, which is what there is of files that are not on this machine while the server is out of reach.
    pub const fn without_what_is_elsewhere(mut self) -> Self {
        self.bears_absence = true;
        self
    }

    /// Works as long as it may. Panics at what a file system of this machine would not say.
    pub fn work_while(&mut self, may: impl Fn() -> bool) {
        while may() {
            let (what, done) = match self.rng.below(20) {
                0..5 => ("create", self.create()),
                5..12 => ("append", self.append()),
                12..16 => ("rename", self.rename()),
                16..18 => ("remove", self.remove()),
                18 => ("replace", self.replace()),
                _ => ("directory", self.directory()),
            };
            if let Err((step, error)) = done {
                let natural = [ErrorKind::NotFound, ErrorKind::AlreadyExists, ErrorKind::DirectoryNotEmpty];
                let is_natural =
                    natural.contains(&error.kind()) && !matches!(step, "write" | "fsync" | "stat" | "read");
                let is_absent = self.bears_absence && step != "fsync" && error.raw_os_error() == Some(nix::libc::EIO);
                assert!(is_natural || is_absent, "{}: {what}: {step}: {error}", self.name);
            }
        }
    }

    fn directory_of_some(&mut self) -> PathBuf {
        let some = self.rng.below(4);
        if some == 3 { self.root.clone() } else { self.root.join(some.to_string()) }
    }

    /// One of the files that there are.
    fn file(&mut self) -> Step<PathBuf> {
        let directory = self.directory_of_some();
        let mut files = Vec::new();
        for entry in fs::read_dir(directory).at("open directory")? {
            let entry = entry.at("list")?;
            if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                files.push(entry.path());
            }
        }
        files.sort();
        if files.is_empty() {
            return Err(("choose", ErrorKind::NotFound.into()));
        }
        Ok(self.rng.pick(&files).clone())
    }

    fn create(&mut self) -> Step<()> {
        let number = self.ledger.moment();
        let path = self.directory_of_some().join(format!("{}{number}", self.name));
        let file = File::options().append(true).create_new(true).open(&path).at("create")?;
        self.ledger.been(&path, [number]);
        self.note(format_args!("created {}", path.display()));
        self.write(&file, number)
    }

    fn append(&mut self) -> Step<()> {
        let path = self.file()?;
        let file = File::options().append(true).open(&path).at("open")?;
        let number = self.ledger.moment();
        // a file may have lines of several numbers: what replaced it, or what conflicted with it
        self.ledger.been(&path, [number]);
        self.note(format_args!("appends {number} to {}", path.display()));
        self.write(&file, number)
    }

    /// Writes a few lines, and mostly fsyncs them.
    fn write(&mut self, mut file: &File, number: u64) -> Step<()> {
        let inode = (self.root.clone(), file.metadata().at("stat")?.ino());
        self.ledger.state.lock().unwrap().written.entry(inode).or_default().insert(number);
        let mut lines = Vec::new();
        for _ in 0..=self.rng.below(3) {
            let line = Line { file: number, began: self.ledger.moment() };
            let filler = "x".repeat(if self.rng.one_in(10) { self.rng.below(20_000) } else { 3 } as usize);
            file.write_all(format!("{} {} {filler}\n", line.file, line.began).as_bytes()).at("write")?;
            lines.push(line);
        }
        if self.rng.one_in(4) {
            return Ok(());
        }
        file.sync_all().at("fsync")?;
        let stat = statx(file, "", AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC, StatxFlags::NLINK);
        // what is written to a file that has been removed is gone with it
        if stat.map_err(Error::from).at("stat")?.stx_nlink > 0 {
            self.note(format_args!("synced {number}"));
            self.ledger.state.lock().unwrap().synced.extend(lines);
        }
        Ok(())
    }

    fn rename(&mut self) -> Step<()> {
        let from = self.file()?;
        let to = self.directory_of_some().join(format!("moved{}", self.ledger.moment()));
        self.ledger.been(&to, self.files_in(&from)?);
        fs::rename(&from, &to).at("rename")?;
        self.note(format_args!("renamed {} to {}", from.display(), to.display()));
        if self.rng.one_in(3) {
            self.sync_directory(&to)?;
        }
        Ok(())
    }

    fn remove(&mut self) -> Step<()> {
        let path = self.file()?;
        let (files, inode) = (self.files_in(&path)?, self.inode(&path)?);
        let done = fs::remove_file(&path).at("remove");
        self.ledger.removed(&path, &files, &inode);
        self.note(format_args!("removed {}: {}", path.display(), done.is_ok()));
        done
    }

    /// Renames a file over another one.
    fn replace(&mut self) -> Step<()> {
        let (from, to) = (self.file()?, self.file()?);
        if from == to {
            return Ok(());
        }
        let (moved, replaced, inode) = (self.files_in(&from)?, self.files_in(&to)?, self.inode(&to)?);
        let done = fs::rename(&from, &to).at("replace");
        self.ledger.removed(&to, &replaced, &inode);
        self.ledger.been(&to, moved);
        self.note(format_args!("renamed {} over {}: {}", from.display(), to.display(), done.is_ok()));
        done
    }

    fn directory(&mut self) -> Step<()> {
        let path = self.root.join(self.rng.below(3).to_string());
        if self.rng.one_in(2) { fs::create_dir(&path).at("mkdir") } else { fs::remove_dir(&path).at("rmdir") }?;
        self.note(format_args!("made or removed {}", path.display()));
        Ok(())
    }

    fn sync_directory(&self, path: &Path) -> Step<()> {
        let directory = File::open(path.parent().expect("a path below the root")).at("open directory")?;
        directory.sync_all().at("fsync")
    }

    fn inode(&self, path: &Path) -> Step<Inode> {
        Ok((self.root.clone(), fs::symlink_metadata(path).at("look up")?.ino()))
    }

    fn note(&self, event: Arguments) {
        self.ledger.note(format!("{}: {event}", self.name));
    }

    /// The numbers of all files that ever were at a path, or whose lines are there.
    fn files_in(&self, path: &Path) -> Step<HashSet<u64>> {
        let content = io::read_to_string(File::open(path).at("open")?).at("read")?;
        let mut files: HashSet<u64> = content.lines().filter_map(Line::parse).map(|line| line.file).collect();
        files.extend(self.ledger.state.lock().unwrap().been.get(path).into_iter().flatten());
        Ok(files)
    }
}

type Step<T> = Result<T, (&'static str, Error)>;

trait At<T> {
    /// Says what failed.
    fn at(self, step: &'static str) -> Step<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, step: &'static str) -> Step<T> {
        self.map_err(|error| (step, error))
    }
}

//! An account on an embedded node in a temporary folder, opened as a file system.

use std::{
    ffi::OsStr,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant, SystemTime},
};

use peergos_fs::{
    Error, Result,
    account::{self, Account, Step},
    posix::{Attr, Caller, FileSystem, JournalOptions, Kind, Options, SetAttr},
    tree,
};
use peergos_net::{CacheSizes, EmbeddedNode, Verified};
use tempfile::TempDir;

use crate::faulty::{Call, Fault, Faults, Faulty};

pub const ROOT: u64 = 1;
/// Bytes of chunks that are kept.
const CACHE: usize = 32 << 20;

pub struct Drive {
    dir: Arc<TempDir>,
    account: Account,
    pub options: Options,
    pub caches: CacheSizes,
    pub faults: Arc<Faults>,
    /// Whether references to directories are kept for as long as the drive is mounted, as a kernel with much memory does.
    pub remembers_directories: bool,
    mounted: Option<Mounted>,
}

struct Mounted {
    fs: Arc<FileSystem>,
    node: Arc<Faulty>,
}

pub fn caller() -> Caller {
    Caller { uid: 1000, gid: 1000, umask: 0o022 }
}

impl Drop for Drive {
    fn drop(&mut self) {
        if let Some(mounted) = &self.mounted
            && !std::thread::panicking()
        {
            mounted.fs.shutdown().unwrap();
        }
    }
}

/// References to inodes that a kernel would hold, given back when dropped.
struct References<'a> {
    fs: &'a FileSystem,
    inos: Vec<u64>,
}

impl Drop for References<'_> {
    fn drop(&mut self) {
        self.inos.iter().rev().for_each(|ino| self.fs.forget(*ino, 1));
    }
}

impl Drive {
    pub fn new() -> Self {
        Self::with(|node| {
            account::sign_up(&*node, "ada", "correct horse", "", SystemTime::now(), &mut |_: Step| {}).unwrap()
        })
    }

    /// The account in `file`.car and `file`.json.
    pub fn imported(file: &str, username: &str, password: &str) -> Self {
        let open = |extension| std::fs::File::open(format!("{file}.{extension}")).unwrap();
        Self::with(|node| {
            node.import(open("car"), open("json")).unwrap();
            let node = Arc::new(Verified::new(node, CacheSizes::default()));
            let now = SystemTime::now();
            let mut account = account::log_in(&node, username, password, None, now, &mut |_: Step| {}).unwrap();
            let home = node.node().id().unwrap();
            account::keep_claim(&**node.node(), &mut account, Some(&home), now).unwrap();
            account
        })
    }

    fn with(account: impl FnOnce(Arc<EmbeddedNode>) -> Account) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let account = account(Arc::new(EmbeddedNode::open(dir.path()).unwrap()));
        let options = Options {
            cache_bytes: CACHE,
            dirty_bytes: 32 << 20,
            // commits happen when a test asks for them
            commit_interval: Duration::from_secs(3600),
            commit_idle: Duration::from_secs(3600),
            journal: None,
            poll_interval: None,
            pins: None,
            read_only: false,
            show_hidden: false,
            uid: 1000,
            gid: 1000,
        };
        let (caches, faults) = (CacheSizes::default(), Arc::default());
        let mut drive = Self { dir, account, options, caches, faults, remembers_directories: false, mounted: None };
        drive.mount();
        drive
    }

    /// The same account mounted a second time, on the same node, which fails for each on its own. Neither can be remounted
    /// while the other is there.
    pub fn second(&self) -> Self {
        self.second_with(self.options.clone())
    }

    /// A second client that keeps a journal, as clients of a server do.
    pub fn second_with_journal(&self) -> Self {
        let journal =
            JournalOptions { dir: self.journal_dir(), bytes: 256 << 20, offline_bytes: 1 << 30, fsync: false };
        let poll_interval = Some(Duration::from_secs(3600));
        self.second_with(Options { journal: Some(journal), poll_interval, ..self.options.clone() })
    }

    fn second_with(&self, options: Options) -> Self {
        let faults = Arc::<Faults>::default();
        let mut second = Self {
            dir: self.dir.clone(),
            account: self.account.clone(),
            options,
            caches: self.caches,
            faults: faults.clone(),
            remembers_directories: self.remembers_directories,
            mounted: None,
        };
        if let Some(mounted) = &self.mounted {
            second.mount_on(Arc::new(Faulty { node: mounted.node.node.clone(), faults }));
        }
        second
    }

    fn mount(&mut self) {
        self.mount_on(Arc::new(Faulty { node: Arc::new(open_node(self.dir.path())), faults: self.faults.clone() }));
    }

    fn mount_on(&mut self, node: Arc<Faulty>) {
        let verified = Arc::new(Verified::new(node.clone(), self.caches));
        let fs = FileSystem::open(verified, self.account.clone(), self.options.clone()).unwrap();
        self.mounted = Some(Mounted { fs, node });
    }

    /// Closes everything, and opens it again from what is stored.
    pub fn remount(&mut self) {
        self.fs().shutdown().unwrap();
        self.mounted = None;
        self.mount();
    }

    /// The same where not everything could be saved, for this reason.
    pub fn remount_after_loss(&mut self) -> i32 {
        let lost = self.fs().shutdown().unwrap_err();
        self.mounted = None;
        self.mount();
        lost.errno()
    }

    /// Has the names in directories leave memory as soon as nobody works with them, from the next mount on, though the
    /// kernel remembers the directories.
    pub const fn forget_names(&mut self, whether: bool) {
        self.remembers_directories |= whether;
        self.options.cache_bytes = if whether { 0 } else { CACHE };
    }

    /// Has everything noted in a journal, from the next mount on.
    pub fn keep_journal(&mut self) {
        let dir = self.journal_dir();
        self.options.journal = Some(JournalOptions { dir, bytes: 256 << 20, offline_bytes: 1 << 30, fsync: false });
    }

    pub fn journal_dir(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    /// The files of the journal, in order.
    pub fn journal_files(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.journal_dir()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == "journal")).collect();
        files.sort();
        files
    }

    /// Ends without committing anything, as if the process were killed. What is left in the journal may be spoilt then,
    /// before everything is opened again.
    pub fn crash_and(&mut self, spoil: impl FnOnce(&Self)) {
        self.die();
        spoil(self);
        self.mount();
    }

    /// The same for one of two clients, while the other goes on, and does `meanwhile`.
    pub fn crash_beside(&mut self, other: &Self, meanwhile: impl FnOnce()) {
        let node = other.mounted.as_ref().unwrap().node.node.clone();
        self.die();
        meanwhile();
        self.mount_on(Arc::new(Faulty { node, faults: self.faults.clone() }));
    }

    fn die(&mut self) {
        for call in [Call::StartTransaction, Call::PutBlocks, Call::PutVitalBlocks, Call::SetPointers] {
            self.faults.fail(call, 0, u32::MAX, Fault::Io);
        }
        let _ = self.fs().shutdown();
        self.mounted = None;
        self.faults.heal();
    }

    pub fn crash(&mut self) {
        self.crash_and(|_| {});
    }

    /// Opens everything again, which is to fail.
    pub fn fails_to_mount(&self) -> Error {
        let node = Arc::new(Faulty { node: Arc::new(open_node(self.dir.path())), faults: self.faults.clone() });
        let verified = Arc::new(Verified::new(node, self.caches));
        FileSystem::open(verified, self.account.clone(), self.options.clone()).err().unwrap()
    }

    /// Changes what is stored while nothing is mounted.
    pub fn while_unmounted(&mut self, change: impl FnOnce(&Account, &tree::Drive)) {
        self.fs().shutdown().unwrap();
        self.mounted = None;
        {
            let node = Arc::new(open_node(self.dir.path()));
            change(&self.account, &tree_on(Arc::new(Verified::new(node, self.caches)), &self.account));
        }
        self.mount();
    }

    pub fn fs(&self) -> &FileSystem {
        &self.mounted.as_ref().unwrap().fs
    }

    /// The file system, to be mounted; given back before the drive is remounted.
    pub fn shared(&self) -> Arc<FileSystem> {
        self.mounted.as_ref().unwrap().fs.clone()
    }

    /// Where the node keeps everything.
    pub fn node_dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn node(&self) -> &EmbeddedNode {
        &self.mounted.as_ref().unwrap().node.node
    }

    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The node with nothing remembered of it. To be dropped before the drive is remounted.
    pub fn verified(&self) -> Arc<Verified> {
        Arc::new(Verified::new(self.mounted.as_ref().unwrap().node.clone(), CacheSizes::default()))
    }

    /// The encrypted tree as it is committed. To be dropped before the drive is remounted.
    pub fn tree(&self) -> tree::Drive {
        tree_on(self.verified(), &self.account)
    }

    /// Follows a path as a kernel does.
    fn walk(&self, path: &str) -> Result<(Attr, References<'_>)> {
        let mut at = self.fs().getattr(ROOT)?;
        let mut references = References { fs: self.fs(), inos: Vec::new() };
        for name in path.split('/').filter(|name| !name.is_empty()) {
            at = self.fs().lookup(at.ino, OsStr::new(name))?;
            if at.kind != Kind::Directory || !self.remembers_directories {
                references.inos.push(at.ino);
            }
        }
        Ok((at, references))
    }

    /// Attributes; the references are kept, so that the number remains good.
    pub fn lookup(&self, path: &str) -> Result<Attr> {
        let (attr, mut references) = self.walk(path)?;
        references.inos.clear();
        Ok(attr)
    }

    /// Attributes, and nothing remembered.
    pub fn stat(&self, path: &str) -> Result<Attr> {
        Ok(self.walk(path)?.0)
    }

    /// Calls `act` with the number of what is at `path`.
    pub fn at<T>(&self, path: &str, act: impl FnOnce(&FileSystem, u64) -> Result<T>) -> Result<T> {
        let (attr, _held) = self.walk(path)?;
        act(self.fs(), attr.ino)
    }

    /// Calls `act` with the number of the last name's directory, and the name.
    fn in_parent<T>(&self, path: &str, act: impl FnOnce(u64, &OsStr) -> Result<T>) -> Result<T> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let (attr, _held) = self.walk(parent)?;
        act(attr.ino, OsStr::new(name))
    }

    /// As `in_parent` for a name that is there: a kernel looks it up first. One that cannot be read is no hindrance.
    fn in_parent_of<T>(&self, path: &str, act: impl FnOnce(u64, &OsStr) -> Result<T>) -> Result<T> {
        let _held = self.walk(path).ok();
        self.in_parent(path, act)
    }

    /// Gives back the reference that making an entry counts.
    fn made(&self, attr: Attr) -> Attr {
        if attr.kind != Kind::Directory || !self.remembers_directories {
            self.fs().forget(attr.ino, 1);
        }
        attr
    }

    pub fn mkdir(&self, path: &str) -> Result<Attr> {
        self.in_parent(path, |parent, name| self.fs().mkdir(parent, name, 0o777, caller())).map(|attr| self.made(attr))
    }

    pub fn create(&self, path: &str) -> Result<u64> {
        let create = |parent, name: &OsStr| self.fs().create(parent, name, 0o666, libc::O_RDWR, caller());
        self.in_parent(path, create).map(|(attr, handle)| {
            self.made(attr);
            handle
        })
    }

    pub fn symlink(&self, path: &str, target: &str) -> Result<Attr> {
        let make = |parent, name: &OsStr| self.fs().symlink(parent, name, Path::new(target), caller());
        self.in_parent(path, make).map(|attr| self.made(attr))
    }

    pub fn mknod(&self, path: &str, mode: u32, rdev: u32) -> Result<Attr> {
        let make = |parent, name: &OsStr| self.fs().mknod(parent, name, mode, rdev, caller());
        self.in_parent(path, make).map(|attr| self.made(attr))
    }

    pub fn open(&self, path: &str) -> Result<u64> {
        let (attr, _held) = self.walk(path)?;
        self.fs().open_file(attr.ino, libc::O_RDWR)
    }

    /// Writes at an offset, making the file if it is not there.
    pub fn write(&self, path: &str, offset: u64, data: &[u8]) -> Result<()> {
        let handle = match self.open(path) {
            Err(Error::Errno(libc::ENOENT)) => self.create(path)?,
            other => other?,
        };
        let result = self.write_to(handle, offset, data);
        self.fs().release(handle);
        result
    }

    /// Writes to an open file.
    pub fn write_to(&self, handle: u64, offset: u64, data: &[u8]) -> Result<()> {
        for (i, part) in data.chunks(1 << 20).enumerate() {
            let written = self.fs().write(handle, offset + ((i << 20) as u64), part)?;
            assert_eq!(written as usize, part.len());
        }
        Ok(())
    }

    pub fn set(&self, path: &str, set: &SetAttr) -> Result<Attr> {
        let (attr, _held) = self.walk(path)?;
        self.fs().setattr(attr.ino, set)
    }

    pub fn truncate(&self, path: &str, size: u64) -> Result<()> {
        self.set(path, &SetAttr { size: Some(size), ..Default::default() }).map(|_| ())
    }

    pub fn fsync(&self, path: &str) -> Result<()> {
        let (attr, _held) = self.walk(path)?;
        self.fs().fsync(attr.ino)
    }

    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        let (attr, _held) = self.walk(path)?;
        let handle = self.fs().open_file(attr.ino, libc::O_RDONLY)?;
        let content = self.read_from(handle);
        self.fs().release(handle);
        let content = content?;
        assert_eq!(content.len() as u64, attr.size, "{path}");
        Ok(content)
    }

    /// Reads all of an open file.
    pub fn read_from(&self, handle: u64) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        loop {
            let part = self.fs().read(handle, content.len() as u64, 1 << 20, <[u8]>::to_vec)?;
            if part.is_empty() {
                return Ok(content);
            }
            content.extend(part);
        }
    }

    pub fn unlink(&self, path: &str) -> Result<()> {
        self.in_parent_of(path, |parent, name| self.fs().unlink(parent, name))
    }

    pub fn rmdir(&self, path: &str) -> Result<()> {
        self.in_parent_of(path, |parent, name| self.fs().rmdir(parent, name))
    }

    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.rename_with(from, to, 0)
    }

    /// Has two entries take each other's places.
    pub fn exchange(&self, one: &str, other: &str) -> Result<()> {
        self.rename_with(one, other, libc::RENAME_EXCHANGE)
    }

    /// With the flags of renameat2(2).
    pub fn rename_with(&self, from: &str, to: &str, flags: u32) -> Result<()> {
        let _replaced = self.walk(to).ok();
        self.in_parent_of(from, |from, name| {
            self.in_parent(to, |to, new_name| self.fs().rename(from, name, to, new_name, flags))
        })
    }

    /// Makes a range of a file zeros, and the file longer where it ends before the range does.
    pub fn zero(&self, path: &str, offset: u64, len: u64) -> Result<()> {
        let handle = self.open(path)?;
        let result = self.fs().fallocate(handle, offset, len, libc::FALLOC_FL_ZERO_RANGE);
        self.fs().release(handle);
        result
    }

    /// Names and kinds, sorted.
    pub fn list(&self, path: &str) -> Result<Vec<(String, Kind)>> {
        let (attr, _held) = self.walk(path)?;
        let handle = self.fs().open_dir(attr.ino)?;
        let mut names = Vec::new();
        let listed = self.fs().read_dir(handle, 0, &mut |entry| {
            names.push((entry.name.to_str().unwrap().to_owned(), entry.kind));
            false
        });
        self.fs().release_dir(handle);
        listed?;
        names.retain(|(name, _)| name != "." && name != "..");
        names.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(names)
    }

    /// The names alone.
    pub fn names(&self, path: &str) -> Result<Vec<String>> {
        Ok(self.list(path)?.into_iter().map(|(name, _)| name).collect())
    }

    /// Lists with attributes in portions, as a kernel does, and calls `taken` with each entry that it got a reference to.
    pub fn list_plus(&self, path: &str, taken: &mut dyn FnMut(u64)) -> Result<()> {
        const PORTION: usize = 20;
        let (attr, _held) = self.walk(path)?;
        let handle = self.fs().open_dir(attr.ino)?;
        let mut cookie = 0;
        let listed = loop {
            let mut count = 0;
            let listed = self.fs().read_dir_plus(handle, cookie, &mut |entry, attr| {
                if count == PORTION {
                    return true;
                }
                (count, cookie) = (count + 1, entry.cookie);
                if attr.is_some() && entry.name != "." && entry.name != ".." {
                    taken(entry.ino);
                }
                false
            });
            if listed.is_err() || count < PORTION {
                break listed;
            }
        };
        self.fs().release_dir(handle);
        listed
    }
}

/// Opens the node again. Chunks that are fetched ahead may keep it open for a moment after its drive is gone.
fn open_node(dir: &Path) -> EmbeddedNode {
    let since = Instant::now();
    loop {
        match EmbeddedNode::open(dir) {
            Err(peergos_net::Error::Locked(_)) if since.elapsed() < Watchdog::LIMIT => std::thread::yield_now(),
            node => return node.unwrap(),
        }
    }
}

fn tree_on(node: Arc<Verified>, account: &Account) -> tree::Drive {
    tree::Drive::new(node, account)
}

/// Aborts the tests when it is not dropped in time: a test that waits for ever says nothing.
pub struct Watchdog {
    _alive: mpsc::Sender<()>,
}

impl Watchdog {
    /// Many times what any test takes, also on a machine that does much else.
    const LIMIT: Duration = Duration::from_secs(900);

    pub fn new(what: &'static str) -> Self {
        let (alive, dropped) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            if dropped.recv_timeout(Self::LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
                // not eprintln!: what that prints is shown with a test's result, and there will be none
                let _ = writeln!(std::io::stderr(), "{what}: not done after {:?}", Self::LIMIT);
                std::process::abort();
            }
        });
        Self { _alive: alive }
    }
}

/// Tells threads to end, also when their test fails meanwhile.
#[derive(Default)]
pub struct Stop(AtomicBool);

impl Stop {
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets it when dropped.
    pub fn when_dropped(&self) -> impl Drop + '_ {
        struct Guard<'a>(&'a Stop);
        impl Drop for Guard<'_> {
            fn drop(&mut self) {
                self.0.0.store(true, Ordering::Relaxed);
            }
        }
        Guard(self)
    }
}

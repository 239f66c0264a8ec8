//! An account in a folder, as a file system without a kernel.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use peergos_fs::{
    account::{self, Account, Step},
    posix::{Attr, Caller, FileSystem, Options},
};
use peergos_net::{CacheSizes, Verified};

use crate::{measure::forget_peak, store::Store};

pub const ROOT: u64 = 1;
const CALLER: Caller = Caller { uid: 0, gid: 0, umask: 0 };

pub struct Drive {
    dir: PathBuf,
    account: Account,
    open: Option<(Arc<FileSystem>, Arc<Store>)>,
}

impl Drive {
    /// A new account.
    pub fn new(dir: &Path) -> Self {
        let store = Store::open(dir);
        let account =
            account::sign_up(&store, "ada", "correct horse", "", SystemTime::now(), &mut |_: Step| {}).unwrap();
        store.set_quota("ada", 1 << 40);
        drop(store);
        let mut drive = Self { dir: dir.to_owned(), account, open: None };
        drive.open();
        drive
    }

    fn open(&mut self) {
        let store = Arc::new(Store::open(&self.dir));
        // as the program has them
        let options = Options {
            cache_bytes: 64 << 20,
            dirty_bytes: 80 << 20,
            commit_interval: Duration::from_secs(5),
            commit_idle: Duration::from_secs(1),
            journal: None,
            poll_interval: None,
            pins: None,
            read_only: false,
            show_hidden: false,
            uid: 0,
            gid: 0,
        };
        let node = Arc::new(Verified::new(store.clone(), CacheSizes::default()));
        self.open = Some((FileSystem::open(node, self.account.clone(), options).unwrap(), store));
    }

    /// Opens everything anew, and returns how long it takes until the root is listed. The most memory that is used counts
    /// from here on.
    pub fn remount(&mut self) -> Duration {
        self.fs().shutdown().unwrap();
        self.open = None;
        forget_peak();
        let start = Instant::now();
        self.open();
        self.list(ROOT);
        start.elapsed()
    }

    pub fn fs(&self) -> &Arc<FileSystem> {
        &self.open.as_ref().expect("open but while it is opened").0
    }

    pub fn store(&self) -> &Store {
        &self.open.as_ref().expect("open but while it is opened").1
    }

    pub fn mkdir(&self, parent: u64, name: &str) -> u64 {
        self.fs().mkdir(parent, OsStr::new(name), 0o755, CALLER).unwrap().ino
    }

    /// Makes a file, to which nothing refers afterwards.
    pub fn create(&self, parent: u64, name: &str, content: &[u8]) {
        let fs = self.fs();
        let (attr, handle) = fs.create(parent, OsStr::new(name), 0o644, libc::O_RDWR, CALLER).unwrap();
        if !content.is_empty() {
            fs.write(handle, 0, content).unwrap();
        }
        fs.release(handle);
        fs.forget(attr.ino, 1);
    }

    /// Follows a path.
    pub fn walk(&self, path: &str) -> Attr {
        let root = self.fs().getattr(ROOT).unwrap();
        path.split('/').fold(root, |at, name| self.fs().lookup(at.ino, OsStr::new(name)).unwrap())
    }

    /// Lists a folder with attributes, as `ls -l` does, and returns how many entries it has.
    pub fn list(&self, ino: u64) -> usize {
        let fs = self.fs();
        let handle = fs.open_dir(ino).unwrap();
        let (mut count, mut taken) = (0, Vec::new());
        fs.read_dir_plus(handle, 0, &mut |entry, attr| {
            if attr.is_some() && entry.cookie > 2 {
                taken.push(entry.ino);
            }
            count += 1;
            false
        })
        .unwrap();
        fs.release_dir(handle);
        taken.into_iter().for_each(|ino| fs.forget(ino, 1));
        count - 2
    }

    /// Commits, and returns the time, the blocks and the bytes that it takes.
    pub fn commit(&self) -> (Duration, usize, usize) {
        let start = Instant::now();
        self.fs().sync().unwrap();
        let (blocks, bytes) = self.store().put();
        (start.elapsed(), blocks, bytes)
    }
}

impl Drop for Drive {
    fn drop(&mut self) {
        if let Some((fs, _)) = &self.open {
            fs.shutdown().unwrap();
        }
    }
}

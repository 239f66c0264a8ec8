//! An account on an embedded node in a temporary folder, opened as a file system.

use std::{
    ffi::OsStr,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use peergos_fs::{
    Error, Result,
    account::{self, Account},
    posix::{Attr, Caller, FileSystem, Kind, Options},
};
use peergos_net::{CacheSizes, Verified, embedded::EmbeddedNode};
use tempfile::TempDir;

pub const ROOT: u64 = 1;

pub struct Drive {
    dir: TempDir,
    account: Account,
    pub options: Options,
    fs: Option<Arc<FileSystem>>,
}

pub fn caller() -> Caller {
    Caller { uid: 1000, gid: 1000, umask: 0o022 }
}

impl Drop for Drive {
    fn drop(&mut self) {
        if let Some(fs) = &self.fs
            && !std::thread::panicking()
        {
            fs.shutdown().unwrap();
        }
    }
}

impl Drive {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let node = EmbeddedNode::open(dir.path()).unwrap();
        let account = account::sign_up(&node, "ada", "correct horse", "", SystemTime::now(), &mut |_| {}).unwrap();
        let options = Options {
            cache_bytes: 32 << 20,
            dirty_bytes: 32 << 20,
            // commits happen when a test asks for them
            commit_interval: Duration::from_secs(3600),
            read_only: false,
            show_hidden: false,
            uid: 1000,
            gid: 1000,
        };
        let fs = Some(open(node, &account, &options));
        Self { dir, account, options, fs }
    }

    /// Closes everything, and opens it again from what is stored.
    pub fn remount(&mut self) {
        self.fs().shutdown().unwrap();
        // the commit thread has ended, so this is the last reference, and the node closes with it
        self.fs = None;
        let node = EmbeddedNode::open(self.dir.path()).unwrap();
        self.fs = Some(open(node, &self.account, &self.options));
    }

    pub fn fs(&self) -> &FileSystem {
        self.fs.as_ref().unwrap()
    }

    pub fn lookup(&self, path: &str) -> Result<Attr> {
        let mut at = self.fs().getattr(ROOT)?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            at = self.fs().lookup(at.ino, OsStr::new(name))?;
        }
        Ok(at)
    }

    fn parent<'a>(&self, path: &'a str) -> Result<(u64, &'a OsStr)> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.lookup(parent)?.ino, OsStr::new(name)))
    }

    pub fn mkdir(&self, path: &str) -> Result<Attr> {
        let (parent, name) = self.parent(path)?;
        self.fs().mkdir(parent, name, 0o777, caller())
    }

    pub fn create(&self, path: &str) -> Result<u64> {
        let (parent, name) = self.parent(path)?;
        Ok(self.fs().create(parent, name, 0o666, libc::O_RDWR, caller())?.1)
    }

    pub fn symlink(&self, path: &str, target: &str) -> Result<Attr> {
        let (parent, name) = self.parent(path)?;
        self.fs().symlink(parent, name, Path::new(target), caller())
    }

    pub fn open(&self, path: &str) -> Result<u64> {
        self.fs().open_file(self.lookup(path)?.ino, libc::O_RDWR)
    }

    /// Writes at an offset, making the file if it is not there.
    pub fn write(&self, path: &str, offset: u64, data: &[u8]) -> Result<()> {
        let handle = match self.open(path) {
            Err(Error::Errno(libc::ENOENT)) => self.create(path)?,
            other => other?,
        };
        for (i, part) in data.chunks(1 << 20).enumerate() {
            self.fs().write(handle, offset + ((i << 20) as u64), part)?;
        }
        self.fs().release(handle);
        Ok(())
    }

    pub fn truncate(&self, path: &str, size: u64) -> Result<()> {
        let set = peergos_fs::posix::SetAttr { size: Some(size), ..Default::default() };
        self.fs().setattr(self.lookup(path)?.ino, &set).map(|_| ())
    }

    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        let attr = self.lookup(path)?;
        let handle = self.fs().open_file(attr.ino, libc::O_RDONLY)?;
        let mut content = Vec::new();
        loop {
            let part = self.fs().read(handle, content.len() as u64, 1 << 20, <[u8]>::to_vec)?;
            if part.is_empty() {
                break;
            }
            content.extend(part);
        }
        self.fs().release(handle);
        assert_eq!(content.len() as u64, attr.size, "{path}");
        Ok(content)
    }

    pub fn unlink(&self, path: &str) -> Result<()> {
        let (parent, name) = self.parent(path)?;
        self.fs().unlink(parent, name)
    }

    pub fn rmdir(&self, path: &str) -> Result<()> {
        let (parent, name) = self.parent(path)?;
        self.fs().rmdir(parent, name)
    }

    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        let ((from, name), (to, new_name)) = (self.parent(from)?, self.parent(to)?);
        self.fs().rename(from, name, to, new_name, 0)
    }

    /// Names and kinds, sorted.
    pub fn list(&self, path: &str) -> Result<Vec<(String, Kind)>> {
        let handle = self.fs().open_dir(self.lookup(path)?.ino)?;
        let mut names = Vec::new();
        self.fs().read_dir(handle, 0, &mut |entry| {
            names.push((entry.name.to_str().unwrap().to_owned(), entry.kind));
            false
        })?;
        self.fs().release_dir(handle);
        names.retain(|(name, _)| name != "." && name != "..");
        names.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(names)
    }
}

fn open(node: EmbeddedNode, account: &Account, options: &Options) -> Arc<FileSystem> {
    let node = Arc::new(Verified::new(Arc::new(node), CacheSizes::default()));
    FileSystem::open(node, account.clone(), options.clone()).unwrap()
}

//! The folder `.peergos` at the top: reachable, not listed, and part of the mount instead of the account.
//!
//! Its files are made when they are opened. The kernel must not remember their content ([`FileSystem::is_virtual`]).

use std::{
    collections::HashMap,
    ffi::OsStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use parking_lot::Mutex;

use crate::{
    Error, Result,
    error::errno,
    posix::{Attr, DirEntry, FileSystem, Kind, inode::ROOT},
};

/// The folder's name.
const NAME: &str = ".peergos";
/// The folder's inode number. Those of entries are hashes, and these few are no likelier to be met than any others.
const FOLDER: u64 = 2;
/// The files: number and name.
const FILES: [(u64, &str); 1] = [(STATUS, "status")];
const STATUS: u64 = 3;
/// Handles of virtual files begin here.
const FIRST_HANDLE: u64 = 1 << 63;

/// What is open of the folder.
#[derive(Default)]
pub(super) struct VirtualFiles {
    /// When the mount began, which is the time of everything here.
    since: Since,
    next: AtomicU64,
    open: Mutex<HashMap<u64, Arc<[u8]>>>,
}

struct Since(SystemTime);

impl Default for Since {
    fn default() -> Self {
        Self(SystemTime::now())
    }
}

/// The number that `name` in `directory` has.
fn number(directory: u64, name: &OsStr) -> Option<u64> {
    match directory {
        ROOT if name == NAME => Some(FOLDER),
        FOLDER => FILES.iter().find(|(_, file)| name == *file).map(|(ino, _)| *ino),
        _ => None,
    }
}

impl FileSystem {
    /// Whether an inode is of the folder `.peergos`: its content may be another at every open.
    pub const fn is_virtual(ino: u64) -> bool {
        ino == FOLDER || is_file(ino)
    }

    /// The attributes of what is virtual at `name` in `directory`; none if nothing in `directory` is, or may be.
    pub(super) fn virtual_entry(&self, directory: u64, name: &OsStr) -> Option<Result<Attr>> {
        match number(directory, name) {
            Some(ino) => self.virtual_attr(ino).map(Ok),
            None => (directory == FOLDER).then(|| errno(libc::ENOENT)),
        }
    }

    /// The attributes of a virtual inode.
    pub(super) fn virtual_attr(&self, ino: u64) -> Option<Attr> {
        let (kind, perm) = match ino {
            FOLDER => (Kind::Directory, 0o500),
            _ if is_file(ino) => (Kind::File, 0o400),
            _ => return None,
        };
        let time = self.virtual_files.since.0;
        Some(Attr {
            ino,
            size: 0,
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm,
            nlink: 1,
            uid: self.options.uid,
            gid: self.options.gid,
            rdev: 0,
            damaged: false,
        })
    }

    /// Opens a virtual file or folder; none if it is another.
    pub(super) fn open_virtual(&self, ino: u64) -> Option<u64> {
        let content = match ino {
            FOLDER => String::new(),
            STATUS => format!("{:#}\n", self.status().to_json()),
            _ => return None,
        };
        let handle = FIRST_HANDLE + self.virtual_files.next.fetch_add(1, Ordering::Relaxed);
        self.virtual_files.open.lock().insert(handle, content.into_bytes().into());
        Some(handle)
    }

    /// What a virtual file held when it was opened; none if the handle is of another.
    pub(super) fn virtual_content(&self, handle: u64) -> Option<Arc<[u8]>> {
        self.virtual_files.open.lock().get(&handle).cloned()
    }

    /// Closes a virtual file or folder.
    pub(super) fn release_virtual(&self, handle: u64) {
        self.virtual_files.open.lock().remove(&handle);
    }

    /// Lists the folder as [`FileSystem::read_dir_plus`] does; none if the handle is of another.
    pub(super) fn list_virtual(
        &self,
        handle: u64,
        cookie: u64,
        add: &mut dyn FnMut(DirEntry<'_>, Option<&Attr>) -> bool,
    ) -> Option<Result<()>> {
        self.virtual_content(handle)?;
        let dots = [(FOLDER, Kind::Directory, "."), (ROOT, Kind::Directory, "..")].into_iter();
        let all = dots.chain(FILES.map(|(ino, name)| (ino, Kind::File, name)));
        for (cookie, (ino, kind, name)) in (1..).zip(all).skip(usize::try_from(cookie).unwrap_or(usize::MAX)) {
            let attr = self.virtual_attr(ino);
            if add(DirEntry { ino, cookie, kind, name: OsStr::new(name) }, attr.as_ref()) {
                break;
            }
        }
        Some(Ok(()))
    }

    /// `EPERM` for what is virtual, which cannot be changed, else `error`.
    pub(super) fn unknown(&self, ino: u64, error: i32) -> Error {
        Error::Errno(if Self::is_virtual(ino) { libc::EPERM } else { error })
    }
}

const fn is_file(ino: u64) -> bool {
    ino == STATUS
}

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
    pins::Pins,
    posix::{Attr, DirEntry, FileSystem, Kind, inode::ROOT},
};

/// The folder's name.
const NAME: &str = ".peergos";
/// The folder's inode number. Those of entries are hashes, and these few are no likelier to be met than any others.
const FOLDER: u64 = 2;
/// The files: number and name.
const FILES: [(u64, &str); 2] = [(STATUS, "status"), (PINS, "pins")];
const STATUS: u64 = 3;
const PINS: u64 = 4;
/// Handles of virtual files begin here.
const FIRST_HANDLE: u64 = 1 << 63;

/// What is open of the folder.
#[derive(Default)]
pub(super) struct VirtualFiles {
    /// When the mount began, which is the time of everything here.
    since: Since,
    next: AtomicU64,
    open: Mutex<HashMap<u64, Opened>>,
}

struct Since(SystemTime);

/// An open file.
struct Opened {
    ino: u64,
    /// What it held when it was opened.
    content: Arc<[u8]>,
}

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
    /// The files that there are.
    fn virtual_names(&self) -> impl Iterator<Item = (u64, &'static str)> {
        let has_pins = self.pins.is_some();
        FILES.into_iter().filter(move |(ino, _)| *ino != PINS || has_pins)
    }

    /// Whether an inode is of the folder `.peergos`: its content may be another at every open.
    pub const fn is_virtual(ino: u64) -> bool {
        ino == FOLDER || is_file(ino)
    }

    /// The attributes of what is virtual at `name` in `directory`; none if nothing in `directory` is, or may be.
    pub(super) fn virtual_entry(&self, directory: u64, name: &OsStr) -> Option<Result<Attr>> {
        match number(directory, name) {
            Some(ino) => Some(self.virtual_attr(ino).ok_or(Error::Errno(libc::ENOENT))),
            None => (directory == FOLDER).then(|| errno(libc::ENOENT)),
        }
    }

    /// The attributes of a virtual inode.
    pub(super) fn virtual_attr(&self, ino: u64) -> Option<Attr> {
        let (kind, perm) = match ino {
            FOLDER => (Kind::Directory, 0o500),
            STATUS => (Kind::File, 0o400),
            PINS if self.pins.is_some() => (Kind::File, 0o600),
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
            PINS => self.pins.iter().flat_map(Pins::paths).map(|path| path + "\n").collect(),
            _ => return None,
        };
        let handle = FIRST_HANDLE + self.virtual_files.next.fetch_add(1, Ordering::Relaxed);
        self.virtual_files.open.lock().insert(handle, Opened { ino, content: content.into_bytes().into() });
        Some(handle)
    }

    /// What a virtual file held when it was opened; none if the handle is of another.
    pub(super) fn virtual_content(&self, handle: u64) -> Option<Arc<[u8]>> {
        self.virtual_files.open.lock().get(&handle).map(|opened| opened.content.clone())
    }

    /// Does what is written to a virtual file; none if the handle is of another.
    pub(super) fn write_virtual(&self, handle: u64, order: &[u8]) -> Option<Result<()>> {
        let ino = self.virtual_files.open.lock().get(&handle)?.ino;
        Some(if ino == PINS { self.change_pins(order) } else { errno(libc::EPERM) })
    }

    /// Pins `+/PATH`, or no longer pins `-/PATH`.
    fn change_pins(&self, order: &[u8]) -> Result<()> {
        let invalid = Error::Errno(libc::EINVAL);
        let order = order.strip_suffix(b"\n").unwrap_or(order);
        let Some((sign @ (b'+' | b'-'), path)) = order.split_first() else { return Err(invalid) };
        let path = std::str::from_utf8(path).ok().filter(|path| path.starts_with('/')).ok_or(invalid)?;
        let pins = self.pins.as_ref().ok_or(Error::Errno(libc::EPERM))?;
        pins.change(path, *sign == b'+')?;
        if let Some(keeper) = &*self.keeper.lock() {
            keeper.wake();
        }
        Ok(())
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
        let all = dots.chain(self.virtual_names().map(|(ino, name)| (ino, Kind::File, name)));
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
    ino == STATUS || ino == PINS
}

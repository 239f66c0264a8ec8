//! Reading parts of large blocks. Comparing 4 KiB with the hash costs as much as comparing all of a block, so where little
//! is read, it is done once for as long as the file stays as it is.

use std::{
    fs::File,
    num::NonZeroUsize,
    ops::Range,
    os::unix::fs::{FileExt as _, MetadataExt as _},
};

use lru::LruCache;
use parking_lot::Mutex;
use rustix::{buffer::spare_capacity, io::pread};
use sha2::{Digest as _, Sha256};

use super::BlockId;
use crate::{Error, Result};

/// Of how many files it is remembered that they were compared with their hashes: about 10 MB of memory, for 64 GiB.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1 << 16).expect("not zero");
/// How much is hashed at a time: what stays in the processor's cache.
const PIECE: usize = 64 << 10;

/// What the system changes with every change of a file's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Version {
    fn of(file: &File) -> Result<Self> {
        let now = file.metadata().map_err(Error::io("looking at a block"))?;
        Ok(Self {
            device: now.dev(),
            inode: now.ino(),
            size: now.size(),
            modified: (now.mtime(), now.mtime_nsec()),
            changed: (now.ctime(), now.ctime_nsec()),
        })
    }
}

/// The files that were compared with their hashes, as they were then.
pub(super) struct Compared(Mutex<LruCache<BlockId, Version>>);

impl Default for Compared {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(REMEMBERED)))
    }
}

/// The open file of a large block.
pub(in crate::embedded) struct Large<'a> {
    compared: &'a Compared,
    id: BlockId,
    file: File,
    version: Version,
    is_compared: bool,
}

impl<'a> Large<'a> {
    /// An open file; none if it has not `len` bytes.
    pub(super) fn new(compared: &'a Compared, id: &BlockId, file: File, len: u32) -> Result<Option<Self>> {
        let version = Version::of(&file)?;
        let is_compared = compared.0.lock().get(id) == Some(&version);
        Ok((version.size == u64::from(len)).then_some(Self { compared, id: *id, file, version, is_compared }))
    }

    /// The first `len` bytes, which may not be compared yet.
    pub fn start(&self, len: usize) -> Result<Vec<u8>> {
        let mut start = Vec::new();
        self.append(0..len, &mut start)?;
        Ok(start)
    }

    /// Appends a range of the bytes, as far as there are any. False, and nothing is appended, if the file does not have
    /// the block's hash.
    pub fn read(&self, range: Range<usize>, out: &mut Vec<u8>) -> Result<bool> {
        let at = out.len();
        self.append(range.clone(), out)?;
        let is_little = out.len() - at < self.version.size as usize / 2;
        if self.is_compared && is_little {
            return Ok(true);
        }
        if self.digest(range.start, &out[at..])? != self.id.digest || Version::of(&self.file)? != self.version {
            out.truncate(at);
            return Ok(false);
        }
        self.compared.0.lock().put(self.id, self.version);
        Ok(true)
    }

    fn append(&self, range: Range<usize>, out: &mut Vec<u8>) -> Result<()> {
        let range = range.start..range.end.min(self.version.size as usize);
        let end = out.len() + range.len();
        out.reserve(range.len());
        while out.len() < end {
            let offset = range.end - (end - out.len());
            match pread(&self.file, spare_capacity(out), offset as u64) {
                Ok(0) => break,
                // there may be room for more than was asked for
                Ok(_) => out.truncate(end),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Error::io("reading a block")(error.into())),
            }
        }
        Ok(())
    }

    /// SHA-256 of the file, of which the bytes from `at` on were read already.
    fn digest(&self, at: usize, read: &[u8]) -> Result<[u8; 32]> {
        let mut hasher = Sha256::new();
        self.hash(&mut hasher, 0..at)?;
        hasher.update(read);
        self.hash(&mut hasher, at + read.len()..usize::MAX)?;
        Ok(hasher.finalize().into())
    }

    fn hash(&self, hasher: &mut Sha256, range: Range<usize>) -> Result<()> {
        let (mut piece, mut at) = ([0; PIECE], range.start);
        while at < range.end {
            let room = PIECE.min(range.end - at);
            match self.file.read_at(&mut piece[..room], at as u64).map_err(Error::io("reading a block"))? {
                0 => break,
                read => {
                    hasher.update(&piece[..read]);
                    at += read;
                }
            }
        }
        Ok(())
    }
}

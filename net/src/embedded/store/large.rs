//! Reading parts of large blocks. Comparing 4 KiB with the hash costs as much as comparing all of a block, so where little
//! is read, it is done once for as long as the file stays as it is.

use std::{
    collections::HashSet,
    fs::File,
    num::NonZeroUsize,
    ops::Range,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    sync::Arc,
};

use lru::LruCache;
use parking_lot::{Condvar, Mutex};
use peergos_crypto::sha256;
use rustix::{
    buffer::spare_capacity,
    io::pread,
    process::{Resource, getrlimit},
};
use sha2::{Digest as _, Sha256};

use super::BlockId;
use crate::{Error, MAX_BLOCK, Result};

/// Of how many files it is remembered that they were compared with their hashes: about 10 MB of memory, for 64 GiB.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1 << 16).expect("not zero");
/// How many files stay open, at most, and which share of all that may be: to open one takes longer than to read a little
/// from it.
const OPEN: u64 = 1024;
const SHARE: u64 = 4;
/// How many bytes of a file are read when it is opened: what precedes the payload.
const START: usize = MAX_BLOCK - (1 << 20);
/// How much is hashed at a time: what stays in the processor's cache.
const PIECE: usize = 64 << 10;

/// What the system changes with every change of a file's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    device: u64,
    inode: u64,
    links: u64,
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
            links: now.nlink(),
            size: now.size(),
            modified: (now.mtime(), now.mtime_nsec()),
            changed: (now.ctime(), now.ctime_nsec()),
        })
    }
}

/// A file that stays open.
#[derive(Debug)]
struct Open {
    file: File,
    /// The length of the block in bytes. What the file has beyond is kept beside it.
    len: usize,
    start: Vec<u8>,
}

/// Which files are open, and which were compared with their hashes.
#[derive(Default)]
pub(super) struct Compared {
    state: Mutex<State>,
    /// Wakes those who wait for a comparison of others.
    done: Condvar,
}

struct State {
    /// The files as they were then.
    known: LruCache<BlockId, Version>,
    under_way: HashSet<BlockId>,
    open: LruCache<BlockId, Arc<Open>>,
}

impl Default for State {
    fn default() -> Self {
        let most = getrlimit(Resource::Nofile).current.map_or(OPEN, |all| OPEN.min(all / SHARE)) as usize;
        let open = LruCache::new(NonZeroUsize::new(most).unwrap_or(NonZeroUsize::MIN));
        Self { known: LruCache::new(REMEMBERED), under_way: HashSet::new(), open }
    }
}

/// A file is being compared: whoever wants to know the same waits.
struct Comparison<'a> {
    compared: &'a Compared,
    id: BlockId,
}

impl Drop for Comparison<'_> {
    fn drop(&mut self) {
        let mut state = self.compared.state.lock();
        state.under_way.remove(&self.id);
        self.compared.done.notify_all();
    }
}

impl Compared {
    /// A block whose file is open.
    pub fn opened(&self, id: &BlockId) -> Result<Option<Large<'_>>> {
        let Some(open) = self.state.lock().open.get(id).cloned() else { return Ok(None) };
        let version = Version::of(&open.file)?;
        if version.links == 0 {
            self.close(id);
            return Ok(None);
        }
        Ok(Some(Large { compared: self, id: *id, is_compared: self.is_known(id, &version), open, version }))
    }

    /// Opens a block's file for reading parts of it; none if it has not even `len` bytes.
    pub fn open(&self, id: &BlockId, file: File, len: u32) -> Result<Option<Large<'_>>> {
        let version = Version::of(&file)?;
        if version.size < u64::from(len) {
            return Ok(None);
        }
        let mut start = Vec::new();
        append(&file, 0..START.min(len as usize), &mut start)?;
        let open = Arc::new(Open { file, len: len as usize, start });
        self.state.lock().open.put(*id, open.clone());
        Ok(Some(Large { compared: self, id: *id, is_compared: self.is_known(id, &version), open, version }))
    }

    /// Closes a file, which is going to be removed.
    pub fn close(&self, id: &BlockId) {
        self.state.lock().open.pop(id);
    }

    fn is_known(&self, id: &BlockId, version: &Version) -> bool {
        self.state.lock().known.get(id) == Some(version)
    }

    fn learn(&self, id: &BlockId, version: Version) {
        self.state.lock().known.put(*id, version);
    }

    /// Begins to compare a file; none if others did meanwhile.
    fn begin(&self, id: &BlockId, version: &Version) -> Option<Comparison<'_>> {
        let mut state = self.state.lock();
        loop {
            if state.known.get(id) == Some(version) {
                return None;
            }
            if state.under_way.insert(*id) {
                return Some(Comparison { compared: self, id: *id });
            }
            self.done.wait(&mut state);
        }
    }

    /// Appends all bytes of files, each behind so many of them, and compares them two at a time. False, and nothing is
    /// appended, if one does not have its hash.
    pub fn read_whole(&self, files: &[(Large<'_>, usize)], out: &mut Vec<u8>) -> Result<bool> {
        let before = out.len();
        for pair in files.chunks(2) {
            let mut starts = Vec::with_capacity(2);
            for (file, front) in pair {
                starts.push(out.len());
                file.append(*front..usize::MAX, out)?;
            }
            let ends = starts.iter().skip(1).copied().chain([out.len()]);
            let parts = pair.iter().zip(starts.iter().zip(ends));
            let parts: Vec<_> =
                parts.map(|((file, front), (from, to))| [&file.start()[..*front], &out[*from..to]]).collect();
            let hashes = sha256::digest_parts(&parts);
            for ((file, _), hash) in pair.iter().zip(hashes) {
                if hash != file.id.digest || Version::of(&file.open.file)? != file.version {
                    out.truncate(before);
                    // another file may take its place
                    self.close(&file.id);
                    return Ok(false);
                }
                self.learn(&file.id, file.version);
            }
        }
        Ok(true)
    }
}

/// The open file of a large block.
pub(in crate::embedded) struct Large<'a> {
    compared: &'a Compared,
    id: BlockId,
    open: Arc<Open>,
    version: Version,
    is_compared: bool,
}

impl Large<'_> {
    /// The first bytes, with all that precedes the payload. They may not be compared yet.
    pub fn start(&self) -> &[u8] {
        &self.open.start
    }

    /// Whether something is kept beside the block.
    pub fn has_beside(&self) -> bool {
        self.version.size > self.open.len as u64
    }

    /// Appends a range of the bytes, and returns one of what is kept beside them, as far as there are any. Neither is compared.
    pub fn part(&self, bytes: Range<usize>, beside: Range<usize>, out: &mut Vec<u8>) -> Result<Vec<u8>> {
        let (len, end) = (self.open.len, self.version.size as usize);
        self.append(bytes, out)?;
        let at = |offset: usize| len.saturating_add(offset).min(end);
        let mut found = Vec::new();
        append(&self.open.file, at(beside.start)..at(beside.end), &mut found)?;
        Ok(found)
    }

    /// Appends a range of the bytes, as far as there are any. False, and nothing is appended, if the file does not have
    /// the block's hash.
    pub fn read(&self, range: Range<usize>, out: &mut Vec<u8>) -> Result<bool> {
        let at = out.len();
        self.append(range.clone(), out)?;
        let is_little = out.len() - at < self.open.len / 2;
        if self.is_compared && is_little {
            return Ok(true);
        }
        // all of it is hashed faster than what others know of it is waited for
        let comparison = if is_little { self.compared.begin(&self.id, &self.version) } else { None };
        if is_little && comparison.is_none() {
            return Ok(true);
        }
        if self.digest(range.start, &out[at..])? != self.id.digest || Version::of(&self.open.file)? != self.version {
            out.truncate(at);
            // another file may take its place
            self.compared.close(&self.id);
            return Ok(false);
        }
        self.compared.learn(&self.id, self.version);
        Ok(true)
    }

    fn append(&self, range: Range<usize>, out: &mut Vec<u8>) -> Result<()> {
        let end = range.end.min(self.open.len);
        append(&self.open.file, range.start.min(end)..end, out)
    }

    /// SHA-256 of the file, of which the bytes from `at` on were read already.
    fn digest(&self, at: usize, read: &[u8]) -> Result<[u8; 32]> {
        let mut hasher = Sha256::new();
        self.hash(&mut hasher, 0..at)?;
        hasher.update(read);
        self.hash(&mut hasher, at + read.len()..self.open.len)?;
        Ok(hasher.finalize().into())
    }

    fn hash(&self, hasher: &mut Sha256, range: Range<usize>) -> Result<()> {
        let (mut piece, mut at) = ([0; PIECE], range.start);
        while at < range.end {
            let room = PIECE.min(range.end - at);
            match self.open.file.read_at(&mut piece[..room], at as u64).map_err(Error::io("reading a block"))? {
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

/// Appends a range of a file, as far as there is any.
fn append(file: &File, range: Range<usize>, out: &mut Vec<u8>) -> Result<()> {
    let end = out.len() + range.len();
    out.reserve(range.len());
    while out.len() < end {
        let offset = range.end - (end - out.len());
        match pread(file, spare_capacity(out), offset as u64) {
            Ok(0) => break,
            // there may be room for more than was asked for
            Ok(_) => out.truncate(end),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::io("reading a block")(error.into())),
        }
    }
    Ok(())
}

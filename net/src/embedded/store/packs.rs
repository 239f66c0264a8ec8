//! Small blocks, one behind the other in append-only files `packs/N.pack` (as in git): a group of thousands costs a
//! few writes and one sync. Where a block is, is in the database and nowhere else.
//!
//! A record is a head of [`HEAD`] bytes (length of the block, account, codec and digest) and the block. Nothing reads
//! the heads: they are there so that a pack can be understood without the database.

use std::{
    fs::{self, File},
    io,
    num::NonZeroUsize,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use lru::LruCache;
use parking_lot::Mutex;

use super::BlockId;
use crate::{Error, Result};

/// The number of a pack.
pub(in crate::embedded) type PackId = u32;

/// A new pack is begun when the current one has reached this length in bytes.
const ROTATE_AT: u64 = 256 << 20;
/// Length (`u32` little-endian) and block id.
pub(in crate::embedded) const HEAD: usize = 4 + BlockId::LEN;
/// How many packs are kept open for reading.
const OPEN_FILES: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");

/// Where a block is in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::embedded) struct Extent {
    pub pack: PackId,
    /// Of the block's first byte.
    pub offset: u32,
    /// Of the block, in bytes.
    pub len: u32,
}

/// The folder of packs.
pub(super) struct Packs {
    dir: PathBuf,
    readers: Mutex<LruCache<PackId, Arc<File>>>,
    writer: Mutex<Writer>,
}

/// The pack that grows.
struct Writer {
    pack: PackId,
    file: Option<Arc<File>>,
    end: u64,
    /// What was written since the last [`Packs::sync`].
    dirty: Vec<(PackId, Arc<File>, u64)>,
}

impl Packs {
    /// Opens the folder and drops everything beyond `committed`, the lengths known to the database.
    ///
    /// # Errors
    /// [`Error::Store`] naming a pack that is missing or too short.
    pub fn open(dir: PathBuf, committed: &[(PackId, u64)]) -> Result<Self> {
        fs::create_dir_all(&dir).map_err(Error::io("making the folder of packs"))?;
        for entry in fs::read_dir(&dir).map_err(Error::io("listing packs"))? {
            let path = entry.map_err(Error::io("listing packs"))?.path();
            let Some(number) = pack_number(&path) else { continue };
            if !committed.iter().any(|(pack, _)| *pack == number) {
                fs::remove_file(&path).map_err(Error::io("removing an uncommitted pack"))?;
            }
        }
        for (pack, len) in committed {
            check_length(&pack_path(&dir, *pack), *len)?;
        }
        let (pack, end) = committed.iter().max().copied().unwrap_or_default();
        let writer = Writer { pack, file: None, end, dirty: Vec::new() };
        Ok(Self { dir, readers: Mutex::new(LruCache::new(OPEN_FILES)), writer: Mutex::new(writer) })
    }

    /// Appends blocks, readable at once and durable after [`Packs::sync`].
    pub fn append(&self, blocks: &[(BlockId, &Bytes)]) -> Result<Vec<Extent>> {
        let mut records = Vec::with_capacity(blocks.iter().map(|(_, data)| HEAD + data.len()).sum());
        let mut writer = self.writer.lock();
        if writer.file.is_none() || writer.end >= ROTATE_AT {
            self.begin(&mut writer)?;
        }
        let (pack, start) = (writer.pack, writer.end);
        let mut extents = Vec::with_capacity(blocks.len());
        for (id, data) in blocks {
            let offset = start + (records.len() + HEAD) as u64;
            let offset = u32::try_from(offset).map_err(|_| Error::Invalid("group of blocks, which is too big"))?;
            // a block has at most MAX_BLOCK bytes
            extents.push(Extent { pack, offset, len: data.len() as u32 });
            records.extend_from_slice(&(data.len() as u32).to_le_bytes());
            records.extend_from_slice(&id.to_key());
            records.extend_from_slice(data);
        }
        let file = writer.file.clone().expect("there is one since `begin`");
        // what a failed attempt leaves behind is overwritten by the next
        file.write_all_at(&records, start).map_err(Error::io("writing a pack"))?;
        writer.end += records.len() as u64;
        let end = writer.end;
        match writer.dirty.last_mut() {
            Some((last, _, len)) if *last == pack => *len = end,
            _ => writer.dirty.push((pack, file, end)),
        }
        Ok(extents)
    }

    /// Continues the last pack, or begins a new one.
    fn begin(&self, writer: &mut Writer) -> Result<()> {
        if writer.end >= ROTATE_AT {
            (writer.pack, writer.end, writer.file) = (writer.pack + 1, 0, None);
        }
        let path = pack_path(&self.dir, writer.pack);
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        writer.file = Some(Arc::new(file.map_err(Error::io("opening a pack"))?));
        if writer.end == 0 {
            super::sync_dir(&self.dir)?;
        }
        Ok(())
    }

    /// Makes what was appended durable. Returns the packs that grew and their lengths, which the database must take
    /// note of; to be asked again if it cannot.
    pub fn sync(&self) -> Result<Vec<(PackId, u64)>> {
        let dirty = self.writer.lock().dirty.clone();
        for (_, file, _) in &dirty {
            file.sync_data().map_err(Error::io("syncing a pack"))?;
        }
        Ok(dirty.into_iter().map(|(pack, _, end)| (pack, end)).collect())
    }

    /// Begins a new pack at the next append, and forgets what was not committed of the others.
    pub fn abandon(&self) {
        let mut writer = self.writer.lock();
        *writer = Writer { pack: writer.pack + 1, file: None, end: 0, dirty: Vec::new() };
    }

    /// Tells that lengths returned by [`Packs::sync`] are committed.
    pub fn committed(&self, ends: &[(PackId, u64)]) {
        self.writer.lock().dirty.retain(|(pack, _, end)| !ends.contains(&(*pack, *end)));
    }

    /// The block at `extent`, or none if its pack is gone.
    pub fn read(&self, extent: Extent) -> Result<Option<Bytes>> {
        let Some(file) = self.reader(extent.pack)? else { return Ok(None) };
        let mut data = vec![0; (extent.len as usize).min(crate::MAX_BLOCK)];
        file.read_exact_at(&mut data, extent.offset.into()).map_err(|source| {
            let path = pack_path(&self.dir, extent.pack);
            Error::Store(format!("{} is damaged: {source}", path.display()))
        })?;
        Ok(Some(data.into()))
    }

    fn reader(&self, pack: PackId) -> Result<Option<Arc<File>>> {
        if let Some(file) = self.readers.lock().get(&pack) {
            return Ok(Some(Arc::clone(file)));
        }
        let file = match File::open(pack_path(&self.dir, pack)) {
            Ok(file) => Arc::new(file),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("opening a pack")(e)),
        };
        self.readers.lock().put(pack, Arc::clone(&file));
        Ok(Some(file))
    }

    /// The pack that is being written to.
    pub fn current(&self) -> PackId {
        self.writer.lock().pack
    }

    /// Deletes a pack in which nothing is alive, and which is not the current one.
    pub fn remove(&self, pack: PackId) -> Result<()> {
        self.readers.lock().pop(&pack);
        match fs::remove_file(pack_path(&self.dir, pack)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("removing a pack")(e)),
            _ => Ok(()),
        }
    }
}

fn pack_path(dir: &Path, pack: PackId) -> PathBuf {
    dir.join(format!("{pack}.pack"))
}

fn pack_number(path: &Path) -> Option<PackId> {
    path.file_name()?.to_str()?.strip_suffix(".pack")?.parse().ok()
}

/// Cuts off what is beyond `committed`.
fn check_length(path: &Path, committed: u64) -> Result<()> {
    let broken = |what: String| Error::Store(format!("{} {what}; restore it from a backup", path.display()));
    let len = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(e) => return Err(broken(format!("cannot be read: {e}"))),
    };
    if len < committed {
        return Err(broken(format!("is truncated: {len} of {committed} bytes are left")));
    }
    if len > committed {
        let file = File::options().write(true).open(path).map_err(Error::io("opening a pack"))?;
        file.set_len(committed).map_err(Error::io("cutting off an unfinished pack"))?;
    }
    Ok(())
}

//! The blocks of all accounts.

use std::{collections::HashMap, path::Path, sync::Arc};

use bytes::Bytes;
use parking_lot::RwLock;

use super::{
    AccountId, Batch, BlockId, Epoch, Kv, PackId, Snapshot, Table,
    files::{Files, Stamp},
    large::Large,
    packs::{Extent, Packs},
    sync_dir,
};
use crate::{Block, Error, Result};

/// Blocks of more bytes than this have a file of their own. Part of the format: see [`Location::from_row`].
const LARGE: usize = 128 << 10;

/// Where a block is. No two puts of a block have the same location.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::embedded) enum Location {
    /// In a pack.
    Pack(Extent),
    /// In a file of its own.
    File {
        /// Which put made it.
        stamp: Stamp,
        /// In bytes.
        len: u32,
    },
}

impl Location {
    /// The length of the block in bytes.
    pub const fn len(&self) -> u32 {
        match self {
            Self::Pack(extent) => extent.len,
            Self::File { len, .. } => *len,
        }
    }

    /// Twelve bytes, as the database has it; both kinds begin with the length.
    fn to_row(self) -> Vec<u8> {
        match self {
            Self::Pack(Extent { pack, offset, len }) => {
                [len.to_be_bytes(), pack.to_be_bytes(), offset.to_be_bytes()].concat()
            }
            Self::File { stamp, len } => [&len.to_be_bytes()[..], &stamp.to_be_bytes()].concat(),
        }
    }

    /// Reads [`Location::to_row`].
    ///
    /// # Errors
    /// [`Error::Invalid`] for other bytes.
    pub fn from_row(row: &[u8]) -> Result<Self> {
        let (len, rest) = row.split_first_chunk().ok_or(Error::Invalid("block location"))?;
        let rest: [u8; 8] = rest.try_into().map_err(|_| Error::Invalid("block location"))?;
        let (len, rest) = (u32::from_be_bytes(*len), u64::from_be_bytes(rest));
        Ok(if len as usize > LARGE {
            Self::File { stamp: rest, len }
        } else {
            Self::Pack(Extent { pack: (rest >> 32) as PackId, offset: rest as u32, len })
        })
    }
}

/// All blocks. See the module for how they become durable.
pub(in crate::embedded) struct BlockStore {
    kv: Arc<Kv>,
    packs: Packs,
    files: Files,
    epoch: Epoch,
    pending: RwLock<HashMap<BlockId, Location>>,
    /// Held for reading by every put from the first byte written until its blocks are pending.
    puts: RwLock<()>,
}

/// What [`BlockStore::seal`] made durable.
pub(in crate::embedded) struct Sealed {
    blocks: Vec<(BlockId, Location)>,
    packs: Vec<(PackId, u64)>,
}

impl BlockStore {
    /// Opens the store in `dir` and removes what unfinished work has left.
    ///
    /// # Errors
    /// [`Error::Store`] naming a file that is missing or truncated.
    pub fn open(dir: &Path, kv: Arc<Kv>, epoch: Epoch) -> Result<Self> {
        let snapshot = kv.snapshot()?;
        let mut committed = Vec::new();
        snapshot.scan(Table::Packs, &[], &mut |pack, len| {
            committed.push(read_pack_row(pack, len)?);
            Ok(())
        })?;
        let packs = Packs::open(dir.join("packs"), &committed)?;
        let files = Files::open(dir.join("blocks"), |id, stamp| {
            let location = location_in(&snapshot, id)?;
            Ok(matches!(location, Some(Location::File { stamp: known, .. }) if known == stamp))
        })?;
        sync_dir(dir)?;
        Ok(Self { kv, packs, files, epoch, pending: RwLock::default(), puts: RwLock::default() })
    }

    /// Stores blocks: visible at once, durable after [`BlockStore::seal`].
    pub fn put(&self, account: AccountId, blocks: &[&Block]) -> Result<()> {
        let _put = self.puts.read();
        let mut placed = Vec::with_capacity(blocks.len());
        let result = self.place(account, blocks, &mut placed);
        if result.is_ok() {
            self.pending.write().extend(placed);
        } else {
            self.discard(&placed);
        }
        result
    }

    fn place(&self, account: AccountId, blocks: &[&Block], placed: &mut Vec<(BlockId, Location)>) -> Result<()> {
        let mut small = Vec::with_capacity(blocks.len());
        for block in blocks {
            let (id, data) = (BlockId::new(account, block.cid())?, block.data());
            if data.len() > LARGE {
                let stamp = self.files.write(&id, data, block.beside())?;
                placed.push((id, Location::File { stamp, len: data.len() as u32 }));
            } else {
                small.push((id, data));
            }
        }
        if !small.is_empty() {
            let extents = self.packs.append(&small)?;
            placed.extend(small.iter().zip(extents).map(|((id, _), extent)| (*id, Location::Pack(extent))));
        }
        Ok(())
    }

    /// Gives back the space of blocks that are not to be kept.
    fn discard(&self, blocks: &[(BlockId, Location)]) {
        for (id, location) in blocks {
            if let Some(stamp) = stamp(location) {
                self.files.discard(id, stamp);
            }
        }
    }

    /// Forgets the pending blocks of an account.
    pub fn forget(&self, account: AccountId) {
        let mut pending = self.pending.write();
        let forgotten: Vec<_> = pending.extract_if(|id, _| id.account == account).collect();
        drop(pending);
        self.discard(&forgotten);
    }

    /// Makes all pending blocks durable, and adds them to the batch that will make them known. One at a time.
    pub fn seal(&self, batch: &mut Batch) -> Result<Sealed> {
        let blocks: Vec<_> = self.pending.read().iter().map(|(id, location)| (*id, *location)).collect();
        let new_files: Vec<_> = blocks.iter().filter_map(|(id, location)| Some((*id, stamp(location)?))).collect();
        let packs = match self.files.sync(&new_files).and_then(|()| self.packs.sync()) {
            Ok(packs) => packs,
            Err(error) => {
                self.drop_pending();
                return Err(error);
            }
        };
        for (pack, end) in &packs {
            batch.put(Table::Packs, pack.to_be_bytes(), end.to_be_bytes());
        }
        for (id, location) in &blocks {
            batch.put(Table::Blocks, id.to_key(), location.to_row());
        }
        if !blocks.is_empty() {
            self.epoch.add(batch);
        }
        Ok(Sealed { blocks, packs })
    }

    /// Follows the commit of what [`BlockStore::seal`] returned.
    pub fn settle(&self, sealed: &Sealed) {
        self.packs.committed(&sealed.packs);
        if !sealed.blocks.is_empty() {
            self.epoch.committed();
        }
        for (id, location) in &sealed.blocks {
            if let Some(stamp) = stamp(location)
                && let Err(error) = self.files.settle(id, stamp)
            {
                // it stays readable where it is, and the next start tries again
                tracing::warn!(%error, "a new block could not be moved to its place");
            }
        }
        self.no_longer_pending(&sealed.blocks);
    }

    /// What the disk has lost once, a second sync would call durable: all that may be in the same files, and the packs
    /// that they are appended to, must be written again.
    fn drop_pending(&self) {
        // every block that was written is pending once no put is under way
        let _no_puts = self.puts.write();
        let dropped: Vec<_> = self.pending.write().drain().collect();
        self.discard(&dropped);
        self.packs.abandon();
    }

    /// Blocks that were put again in the meantime stay pending.
    fn no_longer_pending(&self, blocks: &[(BlockId, Location)]) {
        let mut pending = self.pending.write();
        for (id, location) in blocks {
            if pending.get(id) == Some(location) {
                pending.remove(id);
            }
        }
    }

    /// A block, whether or not it is durable yet.
    pub fn get(&self, id: &BlockId) -> Result<Option<Bytes>> {
        loop {
            let Some(location) = self.locate(id)? else { return Ok(None) };
            if let Some(data) = self.read(id, location)? {
                return Ok(Some(data));
            }
            // it may have moved between two looks, but a place where it stays and is not read from is empty
            if self.locate(id)? == Some(location) {
                return Ok(None);
            }
        }
    }

    /// A large block to read parts of; none if there is no file of its length.
    pub fn large(&self, id: &BlockId) -> Result<Option<Large<'_>>> {
        if let Some(open) = self.files.opened(id)? {
            return Ok(Some(open));
        }
        match self.locate(id)? {
            Some(Location::File { stamp, len }) => self.files.large(id, stamp, len),
            Some(Location::Pack(_)) | None => Ok(None),
        }
    }

    /// Appends large blocks, each behind so many bytes of it. False, and nothing is appended, if one does not have its hash.
    pub fn read_whole(&self, blocks: &[(Large<'_>, usize)], out: &mut Vec<u8>) -> Result<bool> {
        self.files.read_whole(blocks, out)
    }

    /// Where a block is.
    pub fn locate(&self, id: &BlockId) -> Result<Option<Location>> {
        if let Some(location) = self.pending.read().get(id) {
            return Ok(Some(*location));
        }
        let row = self.kv.get(Table::Blocks, &id.to_key())?;
        row.map(|row| Location::from_row(&row)).transpose()
    }

    fn read(&self, id: &BlockId, location: Location) -> Result<Option<Bytes>> {
        match location {
            Location::Pack(extent) => self.packs.read(extent),
            Location::File { stamp, len } => self.files.read(id, stamp, len),
        }
    }

    /// Adds the removal of `dead` blocks to `batch`, and deletes the files of large ones. Blocks that were put again
    /// since they were at the given location stay. Returns where the others were. Not at the same time as a commit.
    pub fn remove(&self, dead: &[(BlockId, Location)], batch: &mut Batch) -> Result<Vec<Location>> {
        let snapshot = self.kv.snapshot()?;
        let mut removed = Vec::with_capacity(dead.len());
        for (id, location) in dead {
            if location_in(&snapshot, id)? != Some(*location) {
                continue;
            }
            batch.delete(Table::Blocks, id.to_key());
            // before the row: what has a row and no file is merely absent, a file without a row would never go
            if matches!(location, Location::File { .. }) {
                self.files.remove(id)?;
            }
            removed.push(*location);
        }
        Ok(removed)
    }

    /// The pack that is being written to. When this returns, everything in earlier packs is pending or sealed.
    pub fn current_pack(&self) -> PackId {
        let current = self.packs.current();
        drop(self.puts.write());
        current
    }

    /// Copies blocks that are still where they were to the current pack; they are to be sealed.
    pub fn copy(&self, blocks: &[(BlockId, Extent)]) -> Result<()> {
        for (id, extent) in blocks {
            if self.locate(id)? != Some(Location::Pack(*extent)) {
                continue;
            }
            let data = self.packs.read(*extent)?.ok_or_else(|| Error::MissingBlock(id.cid()))?;
            let moved = self.packs.append(&[(*id, &data)])?;
            // a put in between is as good
            let mut pending = self.pending.write();
            if let (Some(extent), false) = (moved.first(), pending.contains_key(id)) {
                pending.insert(*id, Location::Pack(*extent));
            }
        }
        Ok(())
    }

    /// Deletes a pack in which nothing is left.
    pub fn remove_pack(&self, pack: PackId) -> Result<()> {
        self.packs.remove(pack)
    }
}

const fn stamp(location: &Location) -> Option<Stamp> {
    match location {
        Location::File { stamp, .. } => Some(*stamp),
        Location::Pack(_) => None,
    }
}

fn location_in(snapshot: &Snapshot, id: &BlockId) -> Result<Option<Location>> {
    let row = snapshot.get(Table::Blocks, &id.to_key())?;
    row.map(|row| Location::from_row(&row)).transpose()
}

/// Reads a row of [`Table::Packs`].
///
/// # Errors
/// [`Error::Invalid`] for other bytes.
pub(in crate::embedded) fn read_pack_row(pack: &[u8], len: &[u8]) -> Result<(PackId, u64)> {
    let pack = pack.try_into().map_err(|_| Error::Invalid("pack row"))?;
    let len = len.try_into().map_err(|_| Error::Invalid("pack row"))?;
    Ok((PackId::from_be_bytes(pack), u64::from_be_bytes(len)))
}

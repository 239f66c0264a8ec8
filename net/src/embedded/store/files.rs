//! Large blocks, one file each: `blocks/ACCOUNT/xx/DIGEST.raw` (or `.cbor`). Behind the block's bytes, whose number the database
//! knows, is what the writer keeps beside it, if anything.
//!
//! A new block is written to `blocks/new/`, made durable there, and moved to its place once the database knows it.
//! So `new` is the only folder to look through after a crash: what the database knows is moved, the rest removed.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::PathBuf,
};

use bytes::Bytes;
use peergos_crypto::{cid::Codec, random};

use super::{
    AccountId, BlockId,
    large::{Compared, Large},
    sync_dir,
};
use crate::{Error, MAX_BLOCK, Result};

/// From this many files on, one `syncfs` is cheaper than as many `fdatasync`.
const SYNC_TOGETHER: usize = 16;

/// Tells one put of a block from another put of the same block.
pub(in crate::embedded) type Stamp = u64;

/// The folder of large blocks.
pub(super) struct Files {
    dir: PathBuf,
    new: PathBuf,
    compared: Compared,
}

impl Files {
    /// Opens the folder, and settles what a crash has left in `new`; `known` tells what the database knows.
    pub fn open(dir: PathBuf, known: impl Fn(&BlockId, Stamp) -> Result<bool>) -> Result<Self> {
        let new = dir.join("new");
        fs::create_dir_all(&new).map_err(Error::io("making the folder of blocks"))?;
        sync_dir(&dir)?;
        let files = Self { dir, new, compared: Compared::default() };
        for entry in fs::read_dir(&files.new).map_err(Error::io("listing new blocks"))? {
            let entry = entry.map_err(Error::io("listing new blocks"))?;
            match entry.file_name().to_str().and_then(parse_new_name) {
                Some((id, stamp)) if known(&id, stamp)? => {
                    if let Err(error) = files.settle(&id, stamp) {
                        // on a full disk, say: it is readable where it is
                        tracing::warn!(%error, "a block could not be moved to its place");
                    }
                }
                _ => fs::remove_file(entry.path()).map_err(Error::io("removing an unfinished block"))?,
            }
        }
        Ok(files)
    }

    /// Writes a new block, readable at once and durable after [`Files::sync`].
    pub fn write(&self, id: &BlockId, data: &[u8], beside: &[u8]) -> Result<Stamp> {
        let stamp = Stamp::from_le_bytes(random::bytes()?);
        let path = self.new_path(id, stamp);
        let write = |mut file: File| file.write_all(data).and_then(|()| file.write_all(beside));
        File::create(&path).and_then(write).map_err(|e| {
            self.discard(id, stamp);
            Error::io("writing a block")(e)
        })?;
        Ok(stamp)
    }

    /// Removes a new block that is not wanted. What is left all the same, the next start removes.
    pub fn discard(&self, id: &BlockId, stamp: Stamp) {
        let _ = fs::remove_file(self.new_path(id, stamp));
    }

    /// Makes new blocks durable.
    pub fn sync(&self, new: &[(BlockId, Stamp)]) -> Result<()> {
        if new.is_empty() {
            return Ok(());
        }
        if new.len() >= SYNC_TOGETHER {
            let folder = File::open(&self.new).map_err(Error::io("opening the folder of new blocks"))?;
            return rustix::fs::syncfs(&folder).map_err(|e| Error::io("syncing blocks")(e.into()));
        }
        for (id, stamp) in new {
            let file = File::open(self.new_path(id, *stamp)).map_err(Error::io("opening a new block"))?;
            file.sync_data().map_err(Error::io("syncing a block"))?;
        }
        sync_dir(&self.new)
    }

    /// Moves a block that the database knows to its place.
    pub fn settle(&self, id: &BlockId, stamp: Stamp) -> Result<()> {
        let (from, to) = (self.new_path(id, stamp), self.path(id));
        let moved = fs::rename(&from, &to).or_else(|e| match (e.kind(), to.parent()) {
            (io::ErrorKind::NotFound, Some(shard)) => {
                fs::create_dir_all(shard)?;
                fs::rename(&from, &to)
            }
            _ => Err(e),
        });
        moved.map_err(Error::io("moving a block to its place"))
    }

    /// A block of `len` bytes, new or in its place; none if there is no file.
    pub fn read(&self, id: &BlockId, stamp: Stamp, len: u32) -> Result<Option<Bytes>> {
        let Some(file) = self.open_block(id, stamp)? else { return Ok(None) };
        let mut data = Vec::with_capacity((len as usize).min(MAX_BLOCK));
        // other bytes, or fewer, are found out by their hash
        file.take(len.into()).read_to_end(&mut data).map_err(Error::io("reading a block"))?;
        Ok(Some(data.into()))
    }

    /// A block of `len` bytes to read parts of; none if there is no such file.
    pub fn large(&self, id: &BlockId, stamp: Stamp, len: u32) -> Result<Option<Large<'_>>> {
        self.open_block(id, stamp)?.map_or(Ok(None), |file| self.compared.open(id, file, len))
    }

    /// A block that was read from lately.
    pub fn opened(&self, id: &BlockId) -> Result<Option<Large<'_>>> {
        self.compared.opened(id)
    }

    /// Appends blocks, each behind so many bytes of it. False, and nothing is appended, if one does not have its hash.
    pub fn read_whole(&self, blocks: &[(Large<'_>, usize)], out: &mut Vec<u8>) -> Result<bool> {
        self.compared.read_whole(blocks, out)
    }

    fn open_block(&self, id: &BlockId, stamp: Stamp) -> Result<Option<File>> {
        // most are in their place; behind the other one once more, so that one on its way is not missed
        for path in [self.path(id), self.new_path(id, stamp), self.path(id)] {
            match File::open(path) {
                Ok(file) => return Ok(Some(file)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(Error::io("opening a block")(e)),
            }
        }
        Ok(None)
    }

    /// Removes a block from its place.
    pub fn remove(&self, id: &BlockId) -> Result<()> {
        self.compared.close(id);
        match fs::remove_file(self.path(id)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("removing a block")(e)),
            _ => Ok(()),
        }
    }

    fn path(&self, id: &BlockId) -> PathBuf {
        let name = file_name(id);
        let shard = name.get(..2).unwrap_or_default();
        self.dir.join(id.account.0.to_string()).join(shard).join(&name)
    }

    fn new_path(&self, id: &BlockId, stamp: Stamp) -> PathBuf {
        self.new.join(format!("{}-{stamp}-{}", id.account.0, file_name(id)))
    }
}

fn file_name(id: &BlockId) -> String {
    let digest: String = id.digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{digest}.{}", if id.codec == Codec::Raw { "raw" } else { "cbor" })
}

/// Reads `ACCOUNT-STAMP-DIGEST.EXTENSION`.
fn parse_new_name(name: &str) -> Option<(BlockId, Stamp)> {
    let (account, rest) = name.split_once('-')?;
    let (stamp, rest) = rest.split_once('-')?;
    let (hex, extension) = rest.split_once('.')?;
    let codec = match extension {
        "raw" => Codec::Raw,
        "cbor" => Codec::DagCbor,
        _ => return None,
    };
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    let mut digest = [0; 32];
    for (i, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).ok()?;
    }
    let account = AccountId(account.parse().ok()?);
    Some((BlockId { account, codec, digest }, stamp.parse().ok()?))
}

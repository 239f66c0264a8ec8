//! Tells an index that was restored from a backup from one that belongs to the packs and blocks beside it: without what
//! it says they would be taken for leftovers, and be removed.
//!
//! The first commit of each process that opens the store counts up a number in the database, and then, in a file, beside
//! the packs. So the number in the file is never the larger one.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use super::{Batch, Kv, Table, sync_dir};
use crate::{Error, Result};

/// The row of [`Table::Node`] with the number.
const EPOCH: &[u8] = b"epoch";

/// The number of this opening of the store.
pub(in crate::embedded) struct Epoch {
    number: u64,
    packs: PathBuf,
    /// Whether it is written down in both places.
    is_noted: AtomicBool,
}

impl Epoch {
    /// Compares the numbers of the store in `dir`.
    ///
    /// # Errors
    /// [`Error::Store`] if the database is older than what is beside it.
    pub fn open(dir: &Path, kv: &Kv) -> Result<Self> {
        let row = kv.get(Table::Node, EPOCH)?.map(|row| row.try_into().map_err(|_| Error::Invalid("epoch row")));
        let indexed = row.transpose()?.map_or(0, u64::from_be_bytes);
        let packs = dir.join("packs");
        let file = packs.join("epoch");
        let noted = match fs::read_to_string(&file) {
            Ok(text) => text.trim().parse().map_err(|_| Error::Store(format!("{} is damaged", file.display())))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => 0,
            Err(e) => return Err(Error::io("reading the epoch")(e)),
        };
        if noted > indexed {
            return Err(Error::Store(format!(
                "{} is older than the blocks beside it; restore the whole folder from one backup (or, to lose what is newer than the index, delete {})",
                dir.join("index.redb").display(),
                file.display(),
            )));
        }
        Ok(Self { number: indexed + 1, packs, is_noted: AtomicBool::new(false) })
    }

    /// Adds the number to a batch, if it is not written down yet.
    pub fn add(&self, batch: &mut Batch) {
        if !self.is_noted.load(Ordering::Relaxed) {
            batch.put(Table::Node, EPOCH, self.number.to_be_bytes());
        }
    }

    /// Follows the commit of such a batch. If it fails, it is tried again with the next one.
    pub fn committed(&self) {
        if self.is_noted.load(Ordering::Relaxed) {
            return;
        }
        match self.note() {
            Ok(()) => self.is_noted.store(true, Ordering::Relaxed),
            Err(error) => tracing::warn!(%error, "the epoch could not be noted"),
        }
    }

    fn note(&self) -> Result<()> {
        let unfinished = self.packs.join("epoch.new");
        let written = File::create(&unfinished).and_then(|mut file| {
            writeln!(file, "{}", self.number)?;
            file.sync_all()?;
            fs::rename(&unfinished, self.packs.join("epoch"))
        });
        written.map_err(Error::io("noting the epoch"))?;
        sync_dir(&self.packs)
    }
}

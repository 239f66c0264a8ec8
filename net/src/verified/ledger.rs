//! What must not be forgotten between runs: the newest pointers seen, lest a server goes back to older ones, and who
//! names belong to, lest it gives them to others (spec 02 §8.7, 01 §4.9).
//!
//! One small file each, `pointers/WRITER` and `claims/NAME`. Both are signed, so a file that was torn by a crash counts
//! as missing. Several processes share a ledger.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use parking_lot::Mutex;
use peergos_crypto::{cbor::Value, signing::KeyHash};
use rustix::fs::{FlockOperation, flock};

use crate::{
    Error, PointerUpdate, Result,
    claim::{ClaimChain, ClaimLink, links_from_cbor, links_to_cbor, username},
};

/// Pointers and claims on disk.
#[derive(Debug)]
pub struct Ledger {
    dir: PathBuf,
    /// Held while a file is compared and replaced.
    lock: Mutex<File>,
}

impl Ledger {
    /// Opens the ledger in `dir`, which is made if it is missing.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(dir: &Path) -> Result<Self> {
        for part in ["pointers", "claims"] {
            fs::create_dir_all(dir.join(part)).map_err(Error::io("making the ledger of pointers and claims"))?;
        }
        let lock = File::create(dir.join("lock")).map_err(Error::io("opening the ledger of pointers and claims"))?;
        Ok(Self { dir: dir.to_owned(), lock: Mutex::new(lock) })
    }

    /// The newest pointer of a writer that was seen.
    pub(super) fn pointer(&self, writer: &KeyHash) -> Option<PointerUpdate> {
        let signed = fs::read(self.pointer_file(writer)).ok()?;
        PointerUpdate::open(&signed, &writer.signing_key().ok()?).ok()
    }

    /// Notes a pointer that was verified, unless a newer one is known.
    pub(super) fn note(&self, writer: &KeyHash, pointer: &PointerUpdate, signed: &[u8]) -> io::Result<()> {
        self.locked(|| {
            if self.pointer(writer).is_some_and(|known| known.sequence >= pointer.sequence) {
                return Ok(());
            }
            self.replace(&self.pointer_file(writer), signed)
        })
    }

    /// The claims on a name as they were last believed.
    pub(super) fn claims(&self, name: &str) -> Option<ClaimChain> {
        let cbor = Value::decode(&fs::read(self.claims_file(name)?).ok()?).ok()?;
        ClaimChain::verify(name, links_from_cbor(&cbor).ok()?).ok()
    }

    /// Takes new claims on a name if they continue the known ones, and notes them. The first are believed.
    ///
    /// # Errors
    /// [`Error::ClaimConflict`].
    pub(super) fn merge(&self, name: &str, links: Vec<ClaimLink>) -> Result<ClaimChain> {
        let Some(file) = self.claims_file(name) else { return ClaimChain::verify(name, links) };
        self.locked(|| {
            let known = self.claims(name);
            let merged = ClaimChain::merge(name, known.as_ref(), links);
            let merged = match (merged, &known) {
                (Err(error), Some(_)) => {
                    let (username, file) = (name.to_owned(), file.display().to_string());
                    return Err(Error::ClaimConflict { username, reason: error.to_string(), file });
                }
                (merged, _) => merged?,
            };
            if known.as_ref() != Some(&merged) {
                let links: Vec<ClaimLink> = merged.links().cloned().collect();
                self.replace(&file, &links_to_cbor(&links).encode()).map_err(Error::io("noting claims"))?;
            }
            Ok(merged)
        })
    }

    fn pointer_file(&self, writer: &KeyHash) -> PathBuf {
        self.dir.join("pointers").join(writer.to_string())
    }

    /// None for what is no name, and might be a path.
    fn claims_file(&self, name: &str) -> Option<PathBuf> {
        username::is_valid(name).then(|| self.dir.join("claims").join(name))
    }

    /// Runs `work` while no other thread or process is in here.
    fn locked<T>(&self, work: impl FnOnce() -> T) -> T {
        let lock = self.lock.lock();
        // without a lock (some network file systems have none) a race between processes may lose the newer entry
        let _ = flock(&*lock, FlockOperation::LockExclusive);
        let result = work();
        let _ = flock(&*lock, FlockOperation::Unlock);
        result
    }

    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let new = self.dir.join("new");
        let mut file = File::create(&new)?;
        file.write_all(content)?;
        file.sync_data()?;
        fs::rename(&new, path)
    }
}

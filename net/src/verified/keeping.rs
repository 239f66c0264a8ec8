//! Reading so that what is read stays on disk.

use std::{collections::HashSet, sync::Arc};

use parking_lot::Mutex;
use peergos_crypto::{cid::Cid, signing::KeyHash};

use super::{CacheSizes, Verified};
use crate::{Block, Error, Result};

/// What was read so far, and for whom.
pub(super) struct Keeping {
    holder: String,
    kept: Mutex<HashSet<Cid>>,
    /// Why something could not be kept.
    error: Mutex<Option<Error>>,
}

impl Verified {
    /// The same node, remembering nothing yet: every block that is read from it is kept on disk for `owner`, whatever else
    /// the disk cache must let go of. None without a disk cache.
    pub fn keeping(&self, owner: &KeyHash) -> Option<Self> {
        let disk = Some(Arc::clone(self.disk.as_ref()?));
        let (kept, error) = (Mutex::default(), Mutex::default());
        let keeping = Some(Keeping { holder: owner.to_string(), kept, error });
        Some(Self { disk, keeping, ..Self::new(Arc::clone(&self.node), CacheSizes::default()) })
    }

    /// Lets go of the owner's blocks that were kept before and were not read now.
    ///
    /// # Errors
    /// What kept a block that was read from being kept; nothing is let go of then.
    pub fn release_others(&self) -> Result<()> {
        let (Some(disk), Some(keeping)) = (&self.disk, &self.keeping) else { return Ok(()) };
        match keeping.error.lock().take() {
            Some(error) => Err(error),
            None => disk.release_others(&keeping.holder, &keeping.kept.lock()),
        }
    }

    /// Keeps a block, if that is what this is for.
    pub(super) fn pin(&self, block: &Block) {
        let (Some(disk), Some(keeping)) = (&self.disk, &self.keeping) else { return };
        match disk.pin(&keeping.holder, block) {
            Ok(()) => drop(keeping.kept.lock().insert(block.cid().clone())),
            Err(error) => drop(keeping.error.lock().get_or_insert(error)),
        }
    }
}

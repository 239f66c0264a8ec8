//! A chunk that is being encrypted and uploaded in the background.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::{Result, tree::SealedChunk};

/// The outcome of sealing one chunk, to be waited for.
#[derive(Debug, Default)]
pub struct Seal {
    outcome: Mutex<Option<Option<Arc<SealedChunk>>>>,
    done: Condvar,
}

impl Seal {
    /// Says how it ended. A failure is not kept: the commit meets it again when it seals the chunk itself.
    pub fn finish(&self, result: Result<SealedChunk>) -> Option<Arc<SealedChunk>> {
        let sealed = match result {
            Ok(sealed) => Some(Arc::new(sealed)),
            Err(error) => {
                tracing::warn!(%error, "a chunk could not be uploaded ahead of its commit");
                None
            }
        };
        *self.outcome.lock() = Some(sealed.clone());
        self.done.notify_all();
        sealed
    }

    /// Waits for the end; none if it failed.
    pub fn wait(&self) -> Option<Arc<SealedChunk>> {
        let mut outcome = self.outcome.lock();
        while outcome.is_none() {
            self.done.wait(&mut outcome);
        }
        outcome.clone().flatten()
    }
}

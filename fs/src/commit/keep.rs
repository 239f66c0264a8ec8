//! Fragments that are needed although no pointer reaches them: not yet, or not any more.

use std::sync::Arc;

use peergos_crypto::cid::{Cid, Codec};
use peergos_net::{Block, TransactionId};

use crate::{
    Result,
    commit::write::{Priority, put},
    space::Signer,
    tree::Drive,
};

/// Keeps fragments from the garbage collection of the node until it is dropped.
pub struct Keep {
    drive: Arc<Drive>,
    transaction: TransactionId,
}

impl Keep {
    /// Keeps nothing yet.
    ///
    /// # Errors
    /// [`crate::Error::Net`].
    pub fn new(drive: Arc<Drive>) -> Result<Self> {
        let transaction = drive.node.start_transaction(&drive.owner)?;
        Ok(Self { drive, transaction })
    }

    /// Stores and keeps fragments.
    ///
    /// # Errors
    /// [`crate::Error::Net`].
    pub fn put(&self, signer: &Signer, blocks: Vec<Block>) -> Result<()> {
        let cids: Vec<Cid> = blocks.iter().map(|block| block.cid().clone()).collect();
        put(&self.drive, &self.transaction, signer, Codec::Raw, blocks, Priority::Ordinary)?;
        self.hold(&cids).map(drop)
    }

    /// Keeps fragments that are stored. False if the node cannot do that, other than for what was put, and for as long
    /// as it lets a transaction be open.
    ///
    /// # Errors
    /// [`crate::Error::Net`].
    pub fn hold(&self, fragments: &[Cid]) -> Result<bool> {
        Ok(fragments.is_empty() || self.drive.node.hold_blocks(&self.drive.owner, &self.transaction, fragments)?)
    }
}

impl Drop for Keep {
    fn drop(&mut self) {
        if let Err(error) = self.drive.node.close_transaction(&self.drive.owner, &self.transaction) {
            tracing::warn!(%error, "a transaction could not be closed");
        }
    }
}

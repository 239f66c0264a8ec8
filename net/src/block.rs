//! Blocks: immutable bytes named by their hash (spec 02 §1.2, §5).

use bytes::Bytes;
use peergos_crypto::{
    cid::{Cid, Codec},
    signing::{SIGNATURE_LEN, SecretSigningKey},
};

use crate::{Error, Result};

/// The largest block that a node takes, in bytes: 1 MiB and room for a BAT prefix.
pub const MAX_BLOCK: usize = (1 << 20) + 100;

/// Bytes together with the CID that they have been found to have: there is no way to make one that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    cid: Cid,
    data: Bytes,
}

impl Block {
    /// Hashes `data` as a block of `codec` (raw or dag-cbor).
    pub fn new(codec: Codec, data: impl Into<Bytes>) -> Self {
        let data = data.into();
        Self { cid: Cid::of_block(codec, &data), data }
    }

    /// Checks that `data` is the block `cid`.
    ///
    /// # Errors
    /// [`Error::WrongBlock`] if its hash differs, [`Error::BlockTooBig`] over [`MAX_BLOCK`].
    pub fn verified(cid: &Cid, data: Bytes) -> Result<Self> {
        if data.len() > MAX_BLOCK {
            return Err(Error::BlockTooBig);
        }
        if !cid.verifies(&data) {
            return Err(Error::WrongBlock(cid.clone()));
        }
        Ok(Self { cid: cid.clone(), data })
    }

    /// The hash.
    pub const fn cid(&self) -> &Cid {
        &self.cid
    }

    /// The bytes.
    pub const fn data(&self) -> &Bytes {
        &self.data
    }

    /// The block with its writer's signature of its hash.
    pub fn sign(self, writer: &SecretSigningKey) -> SignedBlock {
        let digest = self.cid.sha256_digest().expect("blocks are named by sha2-256");
        SignedBlock { signature: writer.sign_detached(digest), block: self }
    }
}

/// A block with the detached signature of its sha2-256 digest by the writer whose pointer will reach it.
///
/// On the wire the signature is attached: `signature(64) ‖ digest(32)`.
#[derive(Debug, Clone)]
pub struct SignedBlock {
    /// The block.
    pub block: Block,
    /// The first 64 bytes of the wire form.
    pub signature: [u8; SIGNATURE_LEN],
}

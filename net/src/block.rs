//! Blocks: immutable bytes named by their hash (spec 02 §1.2, §5).

use bytes::Bytes;
use peergos_crypto::{
    cid::{Cid, Codec},
    sha256::Hashed,
    signing::{PublicSigningKey, SIGNATURE_LEN, SecretSigningKey},
};

use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// The largest block that a node takes, in bytes: 1 MiB and room for a BAT prefix.
pub const MAX_BLOCK: usize = (1 << 20) + 100;

/// Bytes together with the CID that they have been found to have: there is no way to make one that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    cid: Cid,
    data: Bytes,
    beside: Bytes,
}

impl Block {
    /// Hashes `data` as a block of `codec` (raw or dag-cbor).
    pub fn new(codec: Codec, data: impl Into<Bytes>) -> Self {
        let data = data.into();
        Self { cid: Cid::of_block(codec, &data), data, beside: Bytes::new() }
    }

    /// A block of `codec` (raw or dag-cbor) that is hashed already.
    pub fn hashed<T: Into<Bytes>>(codec: Codec, hashed: Hashed<T>) -> Self {
        let (data, hash) = hashed.into_parts();
        Self { cid: Cid::sha256(codec, hash), data: data.into(), beside: Bytes::new() }
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
        Ok(Self { cid: cid.clone(), data, beside: Bytes::new() })
    }

    /// The hash.
    pub const fn cid(&self) -> &Cid {
        &self.cid
    }

    /// The bytes.
    pub const fn data(&self) -> &Bytes {
        &self.data
    }

    /// The same, with something that a node in this process keeps beside it ([`crate::Node::keeps_beside`]).
    #[must_use]
    pub fn with_beside(self, beside: Bytes) -> Self {
        Self { beside, ..self }
    }

    /// What is to be kept beside it. It is not part of the block, and does not leave this machine.
    pub const fn beside(&self) -> &Bytes {
        &self.beside
    }

    /// The block with its writer's signature of its hash.
    pub fn sign(self, writer: &SecretSigningKey) -> SignedBlock {
        SignedBlock { signature: writer.sign_detached(&self.digest()), block: self }
    }

    /// What signatures cover. A legacy block may be named by other means than this digest.
    fn digest(&self) -> [u8; 32] {
        self.cid.sha256_digest().copied().unwrap_or_else(|| Sha256::digest(&self.data).into())
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

impl SignedBlock {
    /// Takes the wire form of the signature apart, without verifying it.
    ///
    /// # Errors
    /// [`Error::BlockSignature`] if it is not over the digest of `block`.
    pub fn from_attached(block: Block, signed: &[u8]) -> Result<Self> {
        match signed.split_first_chunk() {
            Some((signature, digest)) if *digest == block.digest() => Ok(Self { block, signature: *signature }),
            _ => Err(Error::BlockSignature),
        }
    }

    /// The wire form of the signature: 96 bytes.
    pub fn attached(&self) -> Vec<u8> {
        [&self.signature[..], &self.block.digest()].concat()
    }

    /// Checks the signature.
    ///
    /// # Errors
    /// [`Error::BlockSignature`] if it is not `writer`'s.
    pub fn verify(&self, writer: &PublicSigningKey) -> Result<()> {
        writer.verify(&self.signature, &self.block.digest()).map_err(|_| Error::BlockSignature)
    }
}

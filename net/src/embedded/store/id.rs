//! What blocks are found by.

use peergos_crypto::cid::{Cid, Codec};

use crate::{Error, Result};

/// The number of an account, which is its namespace of blocks; never used again for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::embedded) struct AccountId(pub u32);

impl AccountId {
    /// What the keys of the account's rows start with.
    pub const fn to_key(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }

    /// The key of one of the account's rows.
    pub fn row(self, rest: &[u8]) -> Vec<u8> {
        [&self.to_key(), rest].concat()
    }
}

/// A block of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::embedded) struct BlockId {
    pub account: AccountId,
    /// Raw or dag-cbor.
    pub codec: Codec,
    /// sha2-256.
    pub digest: [u8; 32],
}

impl BlockId {
    /// The length of [`BlockId::to_key`].
    pub const LEN: usize = 37;

    /// The block `cid` of `account`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a CID that no stored block has.
    pub fn new(account: AccountId, cid: &Cid) -> Result<Self> {
        match (cid.codec(), cid.sha256_digest()) {
            (codec @ (Codec::Raw | Codec::DagCbor), Some(digest)) => Ok(Self { account, codec, digest: *digest }),
            _ => Err(Error::Invalid("block CID")),
        }
    }

    /// The CID.
    pub const fn cid(&self) -> Cid {
        Cid::sha256(self.codec, self.digest)
    }

    /// Account, codec and digest.
    pub fn to_key(self) -> [u8; Self::LEN] {
        let mut key = [0; Self::LEN];
        key[..4].copy_from_slice(&self.account.to_key());
        key[4] = if self.codec == Codec::Raw { 0x55 } else { 0x71 };
        key[5..].copy_from_slice(&self.digest);
        key
    }

    /// Reads [`BlockId::to_key`].
    ///
    /// # Errors
    /// [`Error::Invalid`] for other bytes.
    pub fn from_key(key: &[u8]) -> Result<Self> {
        let parts = key.split_first_chunk::<4>().and_then(|(account, rest)| Some((account, rest.split_first()?)));
        let Some((account, (codec, digest))) = parts else { return Err(Error::Invalid("block key")) };
        let codec = match codec {
            0x55 => Codec::Raw,
            0x71 => Codec::DagCbor,
            _ => return Err(Error::Invalid("block key")),
        };
        let digest = digest.try_into().map_err(|_| Error::Invalid("block key"))?;
        Ok(Self { account: AccountId(u32::from_be_bytes(*account)), codec, digest })
    }
}

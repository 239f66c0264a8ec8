//! Where the chunks of a file are: derived, not walked (spec 03 §2.8).

use std::fmt;

use peergos_crypto::{Result, bat::Bat, random};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::MapKey;

/// The secret of a file from which place and token of each of its later chunks follow. Erased when dropped, never shown.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct StreamSecret([u8; 32]);

impl StreamSecret {
    /// A fresh random secret.
    ///
    /// # Errors
    /// [`peergos_crypto::Error::Randomness`].
    pub fn generate() -> Result<Self> {
        Ok(Self(random::bytes()?))
    }

    /// A secret from its bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Place and token of the chunk after the one at `map_key` with `bat`. Without a token there, none follows.
    pub fn next_chunk(&self, map_key: MapKey, bat: Option<&Bat>) -> (MapKey, Option<Bat>) {
        let derive = |from: &[u8; 32]| Sha256::new().chain_update(self.0).chain_update(from).finalize().into();
        (MapKey(derive(&map_key.0)), bat.map(|bat| Bat::from_bytes(derive(bat.as_bytes()))))
    }
}

impl PartialEq for StreamSecret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for StreamSecret {}

impl fmt::Debug for StreamSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamSecret")
    }
}

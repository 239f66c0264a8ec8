//! From a key to the slots that lead to it (spec 02 §10.1).

use blake2::{Blake2b512, Digest as _};
use sha2::{Digest as _, Sha256};

/// How many levels a tree may have.
pub const MAX_DEPTH: usize = 32;

const BITS: usize = 3;

/// The function from a key to the bits that place it; fixed for each use of a CHAMP (spec 02 §11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyHasher {
    /// The key itself: file tree, owned keys, secret links.
    Identity,
    /// SHA-256: the public inode file system.
    Sha256,
    /// BLAKE2b-512: the PKI.
    Blake2b512,
}

/// The slot numbers, one per level, that lead to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyPath([u8; MAX_DEPTH]);

impl KeyHasher {
    /// The path of `key`.
    pub fn path(self, key: &[u8]) -> KeyPath {
        match self {
            Self::Identity => KeyPath::of_hash(key),
            Self::Sha256 => KeyPath::of_hash(&Sha256::digest(key)),
            Self::Blake2b512 => KeyPath::of_hash(&Blake2b512::digest(key)),
        }
    }
}

impl KeyPath {
    /// Cuts a hash into slot numbers, low bits first; bits past its end are 0.
    fn of_hash(hash: &[u8]) -> Self {
        let byte = |at: usize| u16::from(hash.get(at).copied().unwrap_or(0));
        Self(std::array::from_fn(|depth| {
            let (at, shift) = (BITS * depth / 8, BITS * depth % 8);
            ((byte(at) | byte(at + 1) << 8) >> shift & 7) as u8
        }))
    }

    /// The slot at `depth`, which must be less than [`MAX_DEPTH`].
    pub fn slot(&self, depth: usize) -> usize {
        self.0[depth].into()
    }

    /// Whether the path begins with `slots`.
    pub(super) fn starts_with(&self, slots: &[usize]) -> bool {
        slots.len() <= MAX_DEPTH && self.0.iter().zip(slots).all(|(a, b)| usize::from(*a) == *b)
    }

    /// Whether both paths take the same slots at the levels up to and including `depth`.
    pub(super) fn agrees(&self, other: &Self, depth: usize) -> bool {
        self.0[..=depth] == other.0[..=depth]
    }
}

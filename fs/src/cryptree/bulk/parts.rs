//! Authenticators of parts of a fragment, for nodes that are in this process: they keep them beside the block, so that a part
//! can be read and verified without hashing all of it. They never leave the machine, and who has other keys, or none, hashes.
//!
//! Each fragment has a key of its own, which follows from a secret of the account, the nonce of the ciphertext, which is never
//! used twice, and the fragment's number; so each part is authenticated once and for ever. A reader of the file has not got
//! the account's secret, and cannot make authenticators of other content.

use peergos_crypto::{
    aes_gcm::{KEY_LEN, Key, OVERHEAD},
    secretbox::NONCE_LEN,
};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// How many bytes of ciphertext have an authenticator of their own; fewer at the end of a fragment.
pub const PART: usize = 4096;
/// The length of an authenticator in bytes.
pub const TAG_LEN: usize = OVERHEAD;

/// What authenticators are made with.
#[derive(ZeroizeOnDrop)]
pub struct Parts([u8; KEY_LEN]);

/// Which fragment of which ciphertext.
#[derive(Debug, Clone, Copy)]
pub struct Which<'a> {
    /// The nonce of the ciphertext.
    pub nonce: &'a [u8; NONCE_LEN],
    /// The number of the fragment.
    pub index: usize,
}

impl Parts {
    /// With the key that follows from a secret of the account.
    pub fn new(secret: &[u8]) -> Self {
        Self(Sha256::new().chain_update(b"peergos-mount parts").chain_update(secret).finalize().into())
    }

    /// The authenticators of all parts of a fragment's ciphertext, one behind the other.
    pub fn tags(&self, which: Which<'_>, ciphertext: &[u8]) -> Vec<u8> {
        let key = self.key(which);
        let mut tags = Vec::with_capacity(ciphertext.len().div_ceil(PART) * TAG_LEN);
        for (number, part) in ciphertext.chunks(PART).enumerate() {
            tags.extend_from_slice(&tag(&key, number, part));
        }
        tags
    }

    /// Whether parts, from the given one on, have these authenticators.
    pub fn verify(&self, which: Which<'_>, first: usize, ciphertext: &[u8], tags: &[u8]) -> bool {
        let key = self.key(which);
        let parts = ciphertext.chunks(PART).zip(tags.chunks(TAG_LEN)).enumerate();
        let are_all = ciphertext.len().div_ceil(PART) * TAG_LEN == tags.len();
        are_all && parts.fold(true, |fit, (at, (part, of))| fit & bool::from(tag(&key, first + at, part).ct_eq(of)))
    }

    fn key(&self, which: Which<'_>) -> Key {
        let hash = Sha256::new().chain_update(self.0).chain_update(which.nonce);
        Key::new(&Zeroizing::new(hash.chain_update((which.index as u64).to_le_bytes()).finalize().into()))
    }
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Parts")
    }
}

/// AES-GCM is made for more than this, but the fastest there is: what it encrypts is not used.
fn tag(key: &Key, number: usize, part: &[u8]) -> [u8; TAG_LEN] {
    let mut buffer = [0; TAG_LEN + PART];
    let buffer = &mut buffer[..TAG_LEN + part.len()];
    buffer[TAG_LEN..].copy_from_slice(part);
    let mut nonce = [0; peergos_crypto::aes_gcm::NONCE_LEN];
    nonce[..8].copy_from_slice(&(number as u64).to_le_bytes());
    key.seal_in_place(nonce, buffer);
    *buffer.first_chunk().expect("the tag is in front")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: [u8; NONCE_LEN] = [7; NONCE_LEN];

    fn which(index: usize) -> Which<'static> {
        Which { nonce: &NONCE, index }
    }

    #[test]
    fn parts_are_verified_alone() {
        let parts = Parts::new(b"secret");
        let ciphertext: Vec<u8> = (0..3 * PART + 100).map(|at| (at % 251) as u8).collect();
        let tags = parts.tags(which(3), &ciphertext);
        assert_eq!(tags.len(), 4 * TAG_LEN);
        for first in 0..4 {
            for end in first + 1..=4 {
                let bytes = &ciphertext[first * PART..(end * PART).min(ciphertext.len())];
                assert!(parts.verify(which(3), first, bytes, &tags[first * TAG_LEN..end * TAG_LEN]));
            }
        }
    }

    #[test]
    fn what_differs_is_refused() {
        let parts = Parts::new(b"secret");
        let ciphertext: Vec<u8> = (0..2 * PART).map(|at| (at % 251) as u8).collect();
        let tags = parts.tags(which(0), &ciphertext);
        for at in (0..2 * PART).step_by(97) {
            let mut changed = ciphertext.clone();
            changed[at] ^= 1;
            assert!(!parts.verify(which(0), 0, &changed, &tags), "byte {at}");
        }
        for at in 0..tags.len() {
            let mut changed = tags.clone();
            changed[at] ^= 1;
            assert!(!parts.verify(which(0), 0, &ciphertext, &changed), "byte {at} of the authenticators");
        }
        let (part, tag) = (&ciphertext[..PART], &tags[..TAG_LEN]);
        assert!(parts.verify(which(0), 0, part, tag));
        assert!(!parts.verify(which(0), 1, part, tag), "another part");
        assert!(!parts.verify(which(1), 0, part, tag), "another fragment");
        assert!(!parts.verify(Which { nonce: &[8; NONCE_LEN], index: 0 }, 0, part, tag), "another ciphertext");
        assert!(!Parts::new(b"other").verify(which(0), 0, part, tag), "another account");
        assert!(!parts.verify(which(0), 0, &part[..PART - 1], tag), "a shorter part");
        assert!(!parts.verify(which(0), 0, part, &tags), "more authenticators than parts");
        assert!(!parts.verify(which(0), 0, &ciphertext, tag), "more parts than authenticators");
    }
}

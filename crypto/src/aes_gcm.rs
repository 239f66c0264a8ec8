//! AES-256-GCM by ring, for what stays on this machine: the protocol has no use for it. Processors have instructions for it,
//! with which it takes a third of the time of [`crate::secretbox`].

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};

use crate::{Error, Result};

/// The length of a key in bytes.
pub const KEY_LEN: usize = 32;
/// The length of a nonce in bytes.
pub const NONCE_LEN: usize = 12;
/// How many bytes longer a ciphertext is than its plaintext: the tag in front.
pub const OVERHEAD: usize = 16;

/// A key, made ready for use.
pub struct Key(LessSafeKey);

impl Key {
    /// Makes a key ready.
    ///
    /// # Panics
    /// Never: keys have the right length.
    pub fn new(key: &[u8; KEY_LEN]) -> Self {
        Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("the key has the length of the algorithm")))
    }

    /// Encrypts in place: `buffer` is [`OVERHEAD`] bytes of room followed by the plaintext, and becomes tag and ciphertext.
    /// A nonce that is used twice gives the key away.
    ///
    /// # Panics
    /// If `buffer` is shorter than [`OVERHEAD`], or longer than 64 GiB: a caller's mistake, not an input's.
    pub fn seal_in_place(&self, nonce: [u8; NONCE_LEN], buffer: &mut [u8]) {
        let (room, text) = buffer.split_first_chunk_mut::<OVERHEAD>().expect("the caller leaves room for the tag");
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::empty(), text).expect("the text is not that long");
        room.copy_from_slice(tag.as_ref());
    }

    /// Decrypts in place: the plaintext is `buffer` after its first [`OVERHEAD`] bytes.
    ///
    /// # Errors
    /// [`Error::Decryption`] if the tag does not fit; the content of `buffer` is then undefined.
    pub fn open_in_place(&self, nonce: [u8; NONCE_LEN], buffer: &mut [u8]) -> Result<()> {
        let (tag, text) = buffer.split_first_chunk_mut::<OVERHEAD>().ok_or(Error::Decryption)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = self.0.open_in_place_separate_tag(nonce, Aad::empty(), Tag::from(*tag), text, 0..);
        opened.map(drop).map_err(|_| Error::Decryption)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Test case 14 of the specification of GCM: sixteen zeros under a key and a nonce of zeros.
    #[test]
    fn known_answer() {
        let key = Key::new(&[0; KEY_LEN]);
        let mut buffer = [0; OVERHEAD + 16];
        key.seal_in_place([0; NONCE_LEN], &mut buffer);
        assert_eq!(hex::encode(buffer), "d0d1c8a799996bf0265b98b5d48ab919cea7403d4d606b6e074ec5d3baf39d18");
        key.open_in_place([0; NONCE_LEN], &mut buffer).unwrap();
        assert_eq!(buffer[OVERHEAD..], [0; 16]);
    }

    #[test]
    fn what_was_changed_is_refused() {
        let key = Key::new(&[1; KEY_LEN]);
        let mut sealed = [7; OVERHEAD + 5];
        key.seal_in_place([2; NONCE_LEN], &mut sealed);
        for at in 0..sealed.len() {
            let mut changed = sealed;
            changed[at] ^= 1;
            assert!(key.open_in_place([2; NONCE_LEN], &mut changed).is_err());
        }
        assert!(key.open_in_place([3; NONCE_LEN], &mut sealed).is_err());
        assert!(key.open_in_place([2; NONCE_LEN], &mut [0; OVERHEAD - 1]).is_err());
    }
}

//! XSalsa20-Poly1305 (NaCl `crypto_secretbox`), combined form `tag(16) ‖ ciphertext` (spec 01 §2.6).

use crypto_secretbox::{AeadInPlace, KeyInit, XSalsa20Poly1305, aead::generic_array::GenericArray};

use crate::{Error, Result};

/// The length of a key in bytes.
pub const KEY_LEN: usize = 32;
/// The length of a nonce in bytes.
pub const NONCE_LEN: usize = 24;
/// How many bytes longer a ciphertext is than its plaintext.
pub const OVERHEAD: usize = 16;

/// Encrypts in place: `buffer` is [`OVERHEAD`] bytes of room followed by the plaintext, and becomes the ciphertext.
///
/// # Panics
/// If `buffer` is shorter than [`OVERHEAD`]: a caller's mistake, not an input's.
pub fn seal_in_place(key: &[u8; KEY_LEN], nonce: &[u8; NONCE_LEN], buffer: &mut [u8]) {
    let (tag_room, text) = buffer.split_at_mut(OVERHEAD);
    let cipher = XSalsa20Poly1305::new(GenericArray::from_slice(key));
    let tag = cipher
        .encrypt_in_place_detached(GenericArray::from_slice(nonce), &[], text)
        .expect("XSalsa20 has no length limit below 2^64 blocks");
    tag_room.copy_from_slice(&tag);
}

/// Decrypts in place and returns the plaintext, which is `buffer` after its first [`OVERHEAD`] bytes.
///
/// # Errors
/// [`Error::Decryption`] if the authenticator does not fit; the content of `buffer` is then undefined.
pub fn open_in_place<'a>(key: &[u8; KEY_LEN], nonce: &[u8; NONCE_LEN], buffer: &'a mut [u8]) -> Result<&'a mut [u8]> {
    if buffer.len() < OVERHEAD {
        return Err(Error::Decryption);
    }
    let (tag, text) = buffer.split_at_mut(OVERHEAD);
    let cipher = XSalsa20Poly1305::new(GenericArray::from_slice(key));
    cipher
        .decrypt_in_place_detached(GenericArray::from_slice(nonce), &[], text, GenericArray::from_slice(tag))
        .map_err(|_| Error::Decryption)?;
    Ok(text)
}

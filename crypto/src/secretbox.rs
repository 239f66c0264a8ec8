//! XSalsa20-Poly1305 (NaCl `crypto_secretbox`), combined form `tag(16) ‖ ciphertext` (spec 01 §2.6).
//!
//! Content passes through here by the gigabyte, so by default libsodium does the work (eight times the speed of the
//! portable crate, which stands in where libsodium cannot be built).

#[cfg(any(test, not(feature = "libsodium")))]
mod portable;
#[cfg(feature = "libsodium")]
mod sodium;

#[cfg(not(feature = "libsodium"))]
use portable as cipher;
#[cfg(feature = "libsodium")]
use sodium as cipher;

use zeroize::Zeroizing;

use crate::{Error, Result};

/// The length of a key in bytes.
pub const KEY_LEN: usize = 32;
/// The length of a nonce in bytes.
pub const NONCE_LEN: usize = 24;
/// How many bytes longer a ciphertext is than its plaintext: the Poly1305 tag in front.
pub const OVERHEAD: usize = 16;

/// What precedes the plaintext's part of the keystream: the Poly1305 key.
const KEYSTREAM_SKIP: u64 = 32;

/// Encrypts in place: `buffer` is [`OVERHEAD`] bytes of room followed by the plaintext, and becomes the ciphertext.
///
/// # Panics
/// If `buffer` is shorter than [`OVERHEAD`]: a caller's mistake, not an input's.
pub fn seal_in_place(key: &[u8; KEY_LEN], nonce: &[u8; NONCE_LEN], buffer: &mut [u8]) {
    let (tag, text) = buffer.split_first_chunk_mut().expect("the caller leaves room for the tag");
    *tag = cipher::seal(key, nonce, text);
}

/// Decrypts in place and returns the plaintext, which is `buffer` after its first [`OVERHEAD`] bytes.
///
/// # Errors
/// [`Error::Decryption`] if the authenticator does not fit; the content of `buffer` is then undefined.
pub fn open_in_place<'a>(key: &[u8; KEY_LEN], nonce: &[u8; NONCE_LEN], buffer: &'a mut [u8]) -> Result<&'a mut [u8]> {
    let (tag, text) = buffer.split_first_chunk_mut().ok_or(Error::Decryption)?;
    if cipher::open(key, nonce, tag, text) { Ok(text) } else { Err(Error::Decryption) }
}

/// `tag ‖ ciphertext` of `plaintext`.
pub fn seal(key: &[u8; KEY_LEN], nonce: &[u8; NONCE_LEN], plaintext: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(OVERHEAD + plaintext.len());
    out.extend_from_slice(&[0; OVERHEAD]);
    out.extend_from_slice(plaintext);
    seal_in_place(key, nonce, &mut out);
    out
}

/// The plaintext of `tag ‖ ciphertext`.
///
/// # Errors
/// [`Error::Decryption`] if the authenticator does not fit.
pub fn open(key: &[u8; KEY_LEN], nonce: &[u8; NONCE_LEN], ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let (tag, text) = ciphertext.split_first_chunk().ok_or(Error::Decryption)?;
    let mut text = Zeroizing::new(text.to_vec());
    if cipher::open(key, nonce, tag, &mut text) { Ok(text) } else { Err(Error::Decryption) }
}

/// Decrypts in place a part of a ciphertext that starts at byte `plaintext_offset` of the plaintext, without looking
/// at the authenticator: `buffer` is ciphertext byte [`OVERHEAD`]` + plaintext_offset` and on (spec 03 §6.8).
///
/// Use it only where something else vouches for the ciphertext, as the CID of a fragment does.
pub fn open_range_unauthenticated(
    key: &[u8; KEY_LEN],
    nonce: &[u8; NONCE_LEN],
    plaintext_offset: u64,
    buffer: &mut [u8],
) {
    cipher::xor_keystream(key, nonce, KEYSTREAM_SKIP + plaintext_offset, buffer);
}

/// Encrypts in place the part of a plaintext that starts at its byte `plaintext_offset`: what [`seal_in_place`] makes of it,
/// where the whole has no place in one buffer. The parts' [`tag`] belongs in front.
pub fn encrypt_range(key: &[u8; KEY_LEN], nonce: &[u8; NONCE_LEN], plaintext_offset: u64, buffer: &mut [u8]) {
    cipher::xor_keystream(key, nonce, KEYSTREAM_SKIP + plaintext_offset, buffer);
}

/// The authenticator of a ciphertext, which is given in parts.
pub fn tag(key: &[u8; KEY_LEN], nonce: &[u8; NONCE_LEN], parts: &[&[u8]]) -> [u8; OVERHEAD] {
    let mut one_time = Zeroizing::new([0; KEY_LEN]);
    cipher::xor_keystream(key, nonce, 0, one_time.as_mut_slice());
    cipher::authenticate(&one_time, parts)
}

#[cfg(test)]
mod tests;

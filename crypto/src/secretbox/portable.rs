//! The cipher in Rust alone: for targets without libsodium, and to check it against.

use crypto_secretbox::{AeadInPlace, KeyInit, XSalsa20Poly1305, aead::generic_array::GenericArray};
use poly1305::Poly1305;
use salsa20::{
    XSalsa20,
    cipher::{KeyIvInit, StreamCipher, StreamCipherSeek},
};

use super::{KEY_LEN, NONCE_LEN, OVERHEAD};

/// Encrypts `text` in place and returns its tag.
pub fn seal(key: &[u8; KEY_LEN], nonce: &[u8; NONCE_LEN], text: &mut [u8]) -> [u8; OVERHEAD] {
    XSalsa20Poly1305::new(GenericArray::from_slice(key))
        .encrypt_in_place_detached(GenericArray::from_slice(nonce), &[], text)
        .expect("no slice reaches the length limit of XSalsa20")
        .into()
}

/// Decrypts `text` in place if `tag` authenticates it.
pub fn open(key: &[u8; KEY_LEN], nonce: &[u8; NONCE_LEN], tag: &[u8; OVERHEAD], text: &mut [u8]) -> bool {
    XSalsa20Poly1305::new(GenericArray::from_slice(key))
        .decrypt_in_place_detached(GenericArray::from_slice(nonce), &[], text, GenericArray::from_slice(tag))
        .is_ok()
}

/// Adds the keystream from byte `offset` on to `buffer`.
pub fn xor_keystream(key: &[u8; KEY_LEN], nonce: &[u8; NONCE_LEN], offset: u64, buffer: &mut [u8]) {
    let mut cipher = XSalsa20::new(GenericArray::from_slice(key), GenericArray::from_slice(nonce));
    cipher.seek(offset);
    cipher.apply_keystream(buffer);
}

/// The authenticator of `parts`, one behind the other, under a key that is used once.
pub fn authenticate(key: &[u8; KEY_LEN], parts: &[&[u8]]) -> [u8; OVERHEAD] {
    Poly1305::new(key.into()).compute_unpadded(&parts.concat()).into()
}

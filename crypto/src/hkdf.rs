//! The key derivation of hybrid boxes (spec 01 §2.1).

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// HKDF-SHA256 without salt, with info `peergos`, to 32 bytes.
pub fn hkdf(input_key: &[u8]) -> Zeroizing<[u8; 32]> {
    let extracted = hmac_sha256(&[0; 32], &[input_key]);
    hmac_sha256(extracted.as_slice(), &[b"peergos", &[1]])
}

/// HMAC-SHA256 over the concatenation of `parts`.
pub(crate) fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    Zeroizing::new(mac.finalize().into_bytes().into())
}

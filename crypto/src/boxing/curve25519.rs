//! Curve25519 boxing keys, and NaCl `crypto_box` with the nonce at the end (spec 01 §2.4).

use std::fmt;

use crypto_box::{PublicKey, SalsaBox, SecretKey, aead::AeadInPlace};
use zeroize::Zeroizing;

use super::CURVE25519;
use crate::{
    Error, Result,
    cbor::Value,
    random,
    secretbox::{NONCE_LEN, OVERHEAD},
};

/// A public key: `[1, bstr .size 32]`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CurvePublic([u8; 32]);

impl CurvePublic {
    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(super) fn to_cbor(self) -> Value {
        Value::Array(vec![CURVE25519.into(), self.0.into()])
    }

    pub(super) fn from_cbor(value: &Value) -> Result<Self> {
        key_bytes(value, "Curve25519 public key").map(Self)
    }
}

impl fmt::Debug for CurvePublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CurvePublic")
    }
}

/// A secret key: `[1, bstr .size 32]`. Erased when dropped, never shown.
#[derive(Clone)]
pub struct CurveSecret(SecretKey);

impl CurveSecret {
    pub(super) fn generate() -> Result<Self> {
        Ok(Self::from_bytes(*Zeroizing::new(random::bytes()?)))
    }

    /// A key from its bytes: the second part of a legacy password derivation.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(SecretKey::from_bytes(bytes))
    }

    /// The public half.
    pub fn public(&self) -> CurvePublic {
        CurvePublic(self.0.public_key().to_bytes())
    }

    /// `tag(16) ‖ ciphertext ‖ nonce(24)` of `message`.
    pub(super) fn seal(&self, message: &[u8], to: &CurvePublic) -> Result<Vec<u8>> {
        Ok(self.seal_with(random::bytes()?, message, to))
    }

    pub(super) fn seal_with(&self, nonce: [u8; NONCE_LEN], message: &[u8], to: &CurvePublic) -> Vec<u8> {
        let mut out = vec![0; OVERHEAD];
        out.extend_from_slice(message);
        let tag = self
            .with(to)
            .encrypt_in_place_detached(&nonce.into(), &[], &mut out[OVERHEAD..])
            .expect("no slice reaches the length limit of XSalsa20");
        out[..OVERHEAD].copy_from_slice(&tag);
        out.extend_from_slice(&nonce);
        out
    }

    /// The inverse of [`CurveSecret::seal`].
    pub(super) fn open(&self, sealed: &[u8], from: &CurvePublic) -> Result<Zeroizing<Vec<u8>>> {
        let (sealed, nonce) = sealed.split_last_chunk::<NONCE_LEN>().ok_or(Error::Decryption)?;
        let (tag, text) = sealed.split_first_chunk::<OVERHEAD>().ok_or(Error::Decryption)?;
        let mut text = Zeroizing::new(text.to_vec());
        self.with(from)
            .decrypt_in_place_detached(nonce.into(), &[], &mut text, tag.into())
            .map_err(|_| Error::Decryption)?;
        Ok(text)
    }

    fn with(&self, other: &CurvePublic) -> SalsaBox {
        SalsaBox::new(&PublicKey::from_bytes(other.0), &self.0)
    }

    pub(super) fn to_cbor(&self) -> Value {
        Value::Array(vec![CURVE25519.into(), self.0.to_bytes().into()])
    }

    pub(super) fn from_cbor(value: &Value) -> Result<Self> {
        Ok(Self::from_bytes(*Zeroizing::new(key_bytes(value, "Curve25519 secret key")?)))
    }
}

impl fmt::Debug for CurveSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CurveSecret")
    }
}

fn key_bytes(value: &Value, what: &'static str) -> Result<[u8; 32]> {
    match value.as_array(what)? {
        [Value::Int(CURVE25519), key] => key.as_array_of(what),
        _ => Err(Error::Key("not a Curve25519 key")),
    }
}

//! Symmetric keys and the two-element cipher text `[nonce, secretbox]` (spec 01 §2.6–2.7).

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{
    Error, Result,
    cbor::Value,
    random,
    secretbox::{self, KEY_LEN, NONCE_LEN, OVERHEAD},
};

const TWEETNACL: i64 = 1;

/// A secretbox key with its dirty flag: `[1, bstr .size 32, bool]`. Erased when dropped, never shown.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SymmetricKey {
    bytes: [u8; KEY_LEN],
    /// Whether the key must be replaced at the next write of what it encrypts (spec 03 §8.5).
    #[zeroize(skip)]
    dirty: bool,
}

impl SymmetricKey {
    /// A fresh random key, not dirty.
    ///
    /// # Errors
    /// [`Error::Randomness`].
    pub fn generate() -> Result<Self> {
        Ok(Self::from_bytes(random::bytes()?))
    }

    /// A key from its bytes, not dirty.
    pub const fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self { bytes, dirty: false }
    }

    /// The key with its dirty flag set to `dirty`.
    pub const fn with_dirty(&self, dirty: bool) -> Self {
        Self { bytes: self.bytes, dirty }
    }

    /// Whether the key must be replaced at the next write of what it encrypts.
    pub const fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// The key's bytes.
    pub const fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.bytes
    }

    /// The structure `[1, bstr, bool]`.
    pub fn to_cbor(&self) -> Value {
        Value::Array(vec![TWEETNACL.into(), self.bytes.into(), self.dirty.into()])
    }

    /// Reads the structure `[1, bstr, bool]`.
    ///
    /// # Errors
    /// [`Error::Structure`] or [`Error::Key`].
    pub fn from_cbor(value: &Value) -> Result<Self> {
        match value.as_array("symmetric key")? {
            [Value::Int(TWEETNACL), bytes, Value::Bool(dirty)] => {
                Ok(Self { bytes: bytes.as_array_of("symmetric key")?, dirty: *dirty })
            }
            _ => Err(Error::Key("unknown type of symmetric key")),
        }
    }

    /// `tag ‖ ciphertext` of `plaintext`.
    pub fn seal(&self, nonce: &[u8; NONCE_LEN], plaintext: &[u8]) -> Vec<u8> {
        secretbox::seal(&self.bytes, nonce, plaintext)
    }

    /// The plaintext of `tag ‖ ciphertext`.
    ///
    /// # Errors
    /// [`Error::Decryption`] if the authenticator does not fit.
    pub fn open(&self, nonce: &[u8; NONCE_LEN], ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        secretbox::open(&self.bytes, nonce, ciphertext)
    }
}

impl PartialEq for SymmetricKey {
    /// Compares bytes (in constant time) and flag.
    fn eq(&self, other: &Self) -> bool {
        bool::from(self.bytes.ct_eq(&other.bytes)) && self.dirty == other.dirty
    }
}

impl Eq for SymmetricKey {}

impl fmt::Debug for SymmetricKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.dirty { "SymmetricKey(dirty)" } else { "SymmetricKey" })
    }
}

/// A cipher text `[nonce, secretbox]` of one CBOR item, with or without zero padding.
#[derive(Clone, PartialEq, Eq)]
pub struct CipherText {
    /// The random nonce.
    pub nonce: [u8; NONCE_LEN],
    /// `tag ‖ ciphertext`.
    pub data: Vec<u8>,
}

impl CipherText {
    /// Encrypts the encoding of `secret`, zero padded up to a multiple of `block` bytes (1: no padding), under a fresh
    /// nonce.
    ///
    /// # Errors
    /// [`Error::Randomness`].
    pub fn seal(key: &SymmetricKey, secret: &Value, block: usize) -> Result<Self> {
        Ok(Self::seal_with(key, random::bytes()?, secret, block))
    }

    /// As [`CipherText::seal`], with a given nonce, which must never be used twice with one key.
    pub fn seal_with(key: &SymmetricKey, nonce: [u8; NONCE_LEN], secret: &Value, block: usize) -> Self {
        let mut data = vec![0; OVERHEAD];
        secret.encode_to(&mut data);
        let padded = (data.len() - OVERHEAD).next_multiple_of(block);
        data.resize(OVERHEAD + padded, 0);
        secretbox::seal_in_place(&key.bytes, &nonce, &mut data);
        Self { nonce, data }
    }

    /// Decrypts and decodes; padding is ignored.
    ///
    /// # Errors
    /// [`Error::Decryption`] for a wrong key, [`Error::Cbor`] for a secret that is not CBOR.
    pub fn open(&self, key: &SymmetricKey) -> Result<Value> {
        Value::decode(&key.open(&self.nonce, &self.data)?)
    }

    /// The structure `[nonce, bstr]`.
    pub fn to_cbor(&self) -> Value {
        Value::Array(vec![self.nonce.into(), self.data.as_slice().into()])
    }

    /// Reads the structure `[nonce, bstr]`.
    ///
    /// # Errors
    /// [`Error::Structure`].
    pub fn from_cbor(value: &Value) -> Result<Self> {
        match value.as_array("cipher text")? {
            [nonce, data] => Ok(Self {
                nonce: nonce.as_array_of("cipher text nonce")?,
                data: data.as_bytes("cipher text")?.to_vec(),
            }),
            _ => Err(Error::Structure("cipher text")),
        }
    }
}

impl fmt::Debug for CipherText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CipherText({})", self.data.len())
    }
}

//! Containers for secrets other than the symmetric cipher text (spec 01 §2.7, §2.9).

use std::fmt;

use zeroize::Zeroizing;

use crate::{
    Error, Result,
    boxing::{BoxingKeyPair, PublicBoxingKey},
    cbor::Value,
    cbor_map,
    multibase::hex,
    password::{Algorithm, Scrypt},
    random,
    secretbox::NONCE_LEN,
};

/// Boxes the encoding of `secret` for `to`, zero padded up to a multiple of `block` bytes (1: no padding). Structures
/// carry the result as a byte string.
///
/// # Errors
/// As [`BoxingKeyPair::seal`].
pub fn seal_asymmetric(from: &BoxingKeyPair, to: &PublicBoxingKey, secret: &Value, block: usize) -> Result<Vec<u8>> {
    let mut padded = Zeroizing::new(secret.encode());
    let len = padded.len().next_multiple_of(block);
    padded.resize(len, 0);
    from.seal(&padded, to)
}

/// Opens what [`seal_asymmetric`] gives; padding is ignored.
///
/// # Errors
/// As [`BoxingKeyPair::open`], and [`Error::Cbor`] for a secret that is not CBOR.
pub fn open_asymmetric(to: &BoxingKeyPair, from: &PublicBoxingKey, sealed: &[u8]) -> Result<Value> {
    Value::decode(&to.open(sealed, from)?)
}

/// An asymmetric cipher text with the sender's key, `{"c": bstr, "k": public boxing key}`.
#[derive(Clone, PartialEq, Eq)]
pub struct Sourced {
    /// The sender's key, which is usually made for this one message.
    pub from: PublicBoxingKey,
    /// What [`seal_asymmetric`] gave.
    pub sealed: Vec<u8>,
}

impl Sourced {
    /// Boxes the encoding of `secret` for `to`, without padding.
    ///
    /// # Errors
    /// As [`BoxingKeyPair::seal`].
    pub fn seal(from: &BoxingKeyPair, to: &PublicBoxingKey, secret: &Value) -> Result<Self> {
        Ok(Self { from: from.public().clone(), sealed: seal_asymmetric(from, to, secret, 1)? })
    }

    /// Opens it. Who holds the sender's key is for the caller to know.
    ///
    /// # Errors
    /// As [`open_asymmetric`].
    pub fn open(&self, to: &BoxingKeyPair) -> Result<Value> {
        open_asymmetric(to, &self.from, &self.sealed)
    }

    /// The structure `{"c": bstr, "k": public boxing key}`.
    pub fn to_cbor(&self) -> Value {
        cbor_map! { "c" => self.sealed.as_slice(), "k" => self.from.to_cbor() }
    }

    /// Reads the structure `{"c": bstr, "k": public boxing key}`.
    ///
    /// # Errors
    /// [`Error::Structure`], or as [`PublicBoxingKey::from_cbor`].
    pub fn from_cbor(value: &Value) -> Result<Self> {
        let map = value.as_map("sourced cipher text")?;
        Ok(Self {
            from: PublicBoxingKey::from_cbor(map.require("k", "sourced cipher text key")?)?,
            sealed: map.require("c", "sourced cipher text")?.as_bytes("sourced cipher text")?.to_vec(),
        })
    }
}

impl fmt::Debug for Sourced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sourced({})", self.sealed.len())
    }
}

/// Bytes under a password, `[algorithm, salt(32), nonce(24), secretbox]`: how a server keeps its key file.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordProtected {
    algorithm: Algorithm,
    salt: [u8; 32],
    nonce: [u8; NONCE_LEN],
    sealed: Vec<u8>,
}

impl PasswordProtected {
    /// Encrypts `cleartext`. Costs as much as a login.
    ///
    /// # Errors
    /// [`Error::Randomness`].
    pub fn seal(password: &str, cleartext: &[u8]) -> Result<Self> {
        Self::seal_with(random::bytes()?, random::bytes()?, password, cleartext)
    }

    fn seal_with(salt: [u8; 32], nonce: [u8; NONCE_LEN], password: &str, cleartext: &[u8]) -> Result<Self> {
        let scrypt = Scrypt::blob();
        let sealed = scrypt.derive_key(&hex(&salt), password)?.seal(&nonce, cleartext);
        Ok(Self { algorithm: Algorithm::Scrypt(scrypt), salt, nonce, sealed })
    }

    /// Decrypts it.
    ///
    /// # Errors
    /// [`Error::Decryption`] for a wrong password, [`Error::Derivation`] for costs out of bounds.
    pub fn open(&self, password: &str) -> Result<Zeroizing<Vec<u8>>> {
        let Algorithm::Scrypt(scrypt) = &self.algorithm else {
            return Err(Error::Derivation("the blob has no password"));
        };
        scrypt.derive_key(&hex(&self.salt), password)?.open(&self.nonce, &self.sealed)
    }

    /// The structure `[algorithm, salt, nonce, bstr]`.
    pub fn to_cbor(&self) -> Value {
        Value::Array(vec![self.algorithm.to_cbor(), self.salt.into(), self.nonce.into(), self.sealed.as_slice().into()])
    }

    /// Reads the structure `[algorithm, salt, nonce, bstr]`.
    ///
    /// # Errors
    /// [`Error::Structure`].
    pub fn from_cbor(value: &Value) -> Result<Self> {
        let [algorithm, salt, nonce, sealed] = value.as_array("password-protected blob")? else {
            return Err(Error::Structure("password-protected blob"));
        };
        Ok(Self {
            algorithm: Algorithm::from_cbor(algorithm)?,
            salt: salt.as_array_of("password-protected blob salt")?,
            nonce: nonce.as_array_of("password-protected blob nonce")?,
            sealed: sealed.as_bytes("password-protected blob")?.to_vec(),
        })
    }
}

impl fmt::Debug for PasswordProtected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PasswordProtected({})", self.sealed.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_protected_byte_for_byte() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/01-crypto.json");
        let file: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let case = |name: &str| file["password_protected"][name].as_str().unwrap().to_owned();
        let cbor = crate::multibase::hex_decode(&case("cbor")).unwrap();
        let theirs = PasswordProtected::from_cbor(&Value::decode(&cbor).unwrap()).unwrap();
        let text = crate::multibase::hex_decode(&case("plaintext")).unwrap();
        let ours = PasswordProtected::seal_with(theirs.salt, theirs.nonce, &case("password"), &text).unwrap();
        assert_eq!(ours.to_cbor().encode(), cbor);
    }
}

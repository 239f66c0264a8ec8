//! The two small boxes of a node: what its base key opens, and what its parent key opens (spec 03 §3.3, §3.4).

use peergos_crypto::{
    Error, Result,
    cbor::{Map, Value},
    cbor_map,
    signing::{KeyHash, SecretSigningKey},
    symmetric::{CipherText, SymmetricKey},
};
use zeroize::Zeroizing;

use super::Properties;
use crate::capability::RelativeCapability;

/// What `b` is padded to, in bytes, so that its length says nothing.
const FROM_BASE_BLOCK: usize = 64;
/// Likewise for `p`.
const FROM_PARENT_BLOCK: usize = 16;

/// What the base key opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromBase {
    /// A directory's parent key, or a file's data key.
    pub key: SymmetricKey,
    /// The place of the next chunk, whether there is one or not.
    pub next: RelativeCapability,
    /// The secret of the writing space under the write key, on the first chunk of the root of one.
    pub signer: Option<CipherText>,
}

impl FromBase {
    /// Encrypts under the base key.
    ///
    /// # Errors
    /// [`Error::Randomness`].
    pub fn seal(&self, base: &SymmetricKey) -> Result<CipherText> {
        CipherText::seal(base, &Zeroizing::new(self.to_cbor()), FROM_BASE_BLOCK)
    }

    /// Decrypts with the base key.
    ///
    /// # Errors
    /// [`Error::Decryption`], or [`Error::Structure`] and the like if the content is malformed.
    pub fn open(sealed: &CipherText, base: &SymmetricKey) -> Result<Self> {
        Self::from_cbor(&Zeroizing::new(sealed.open(base)?))
    }

    /// The structure `frombase`.
    pub fn to_cbor(&self) -> Value {
        let mut map = Map::new();
        map.insert("k", self.key.to_cbor());
        map.insert("n", self.next.to_cbor());
        map.insert_some("w", self.signer.as_ref().map(CipherText::to_cbor));
        Value::Map(map)
    }

    /// Reads the structure `frombase`.
    ///
    /// # Errors
    /// [`Error::Structure`] or [`Error::Key`].
    pub fn from_cbor(value: &Value) -> Result<Self> {
        let map = value.as_map("from-base")?;
        Ok(Self {
            key: SymmetricKey::from_cbor(map.require("k", "from-base key")?)?,
            next: RelativeCapability::from_cbor(map.require("n", "next chunk")?)?,
            signer: map.get("w").map(CipherText::from_cbor).transpose()?,
        })
    }
}

/// What the parent key opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromParent {
    /// The link to the parent, with the parent's parent key. None in home directories; to be trusted on first chunks
    /// only.
    pub parent: Option<RelativeCapability>,
    /// Name, size, times and so on; to be trusted on first chunks only.
    pub properties: Properties,
}

impl FromParent {
    /// Encrypts under the parent key.
    ///
    /// # Errors
    /// [`Error::Structure`] for properties that other clients would choke on; [`Error::Randomness`].
    pub fn seal(&self, parent_key: &SymmetricKey) -> Result<CipherText> {
        CipherText::seal(parent_key, &Zeroizing::new(self.to_cbor()?), FROM_PARENT_BLOCK)
    }

    /// Decrypts with the parent key.
    ///
    /// # Errors
    /// [`Error::Decryption`], or [`Error::Structure`] and the like if the content is malformed.
    pub fn open(sealed: &CipherText, parent_key: &SymmetricKey) -> Result<Self> {
        Self::from_cbor(&Zeroizing::new(sealed.open(parent_key)?))
    }

    /// The structure `fromparent`.
    ///
    /// # Errors
    /// As [`Properties::to_cbor`].
    pub fn to_cbor(&self) -> Result<Value> {
        let mut map = Map::new();
        map.insert_some("p", self.parent.as_ref().map(RelativeCapability::to_cbor));
        map.insert("s", self.properties.to_cbor()?);
        Ok(Value::Map(map))
    }

    /// Reads the structure `fromparent`.
    ///
    /// # Errors
    /// [`Error::Structure`] or [`Error::Key`].
    pub fn from_cbor(value: &Value) -> Result<Self> {
        let map = value.as_map("from-parent")?;
        Ok(Self {
            parent: map.get("p").map(RelativeCapability::from_cbor).transpose()?,
            properties: Properties::from_cbor(map.require("s", "properties")?)?,
        })
    }
}

/// Encrypts the key of a writing space under the write key of the entry at its root.
///
/// # Errors
/// [`Error::Randomness`].
pub fn seal_signer(signer: &SecretSigningKey, write: &SymmetricKey) -> Result<CipherText> {
    let pair = Zeroizing::new(cbor_map! { "p" => signer.hash(), "s" => signer.to_cbor() });
    CipherText::seal(write, &pair, 1)
}

/// Decrypts the key of a writing space, and checks that it is that of `writer`.
///
/// # Errors
/// [`Error::Decryption`], [`Error::Key`] if it is another writer's.
pub fn open_signer(sealed: &CipherText, write: &SymmetricKey, writer: &KeyHash) -> Result<SecretSigningKey> {
    let pair = Zeroizing::new(sealed.open(write)?);
    let map = pair.as_map("signer")?;
    let named = KeyHash::from_cbor(map.require("p", "signer hash")?, "signer hash")?;
    let signer = SecretSigningKey::from_cbor(map.require("s", "signer secret")?)?;
    if named != *writer || signer.hash() != writer {
        return Err(Error::Key("signer of another writing space"));
    }
    Ok(signer)
}

//! Mutable pointers: from a writer to the CID of its WriterData block, signed by the writer (spec 02 §8).

use peergos_crypto::{
    cbor::Value,
    cbor_map,
    cid::Cid,
    signing::{KeyHash, PublicSigningKey, SecretSigningKey},
};

use crate::{Error, Result};

/// The largest signed pointer update, in bytes.
pub const MAX_SIGNED: usize = 147;

/// `[original, updated, ?sequence]`, CIDs as plain byte strings or null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointerUpdate {
    /// The target that the update starts from; none for the first.
    pub original: Option<Cid>,
    /// The new target; none deletes.
    pub updated: Option<Cid>,
    /// Grows with every update; absent only on old accounts.
    pub sequence: Option<u64>,
}

impl PointerUpdate {
    /// The update that follows `current` (none: the first) and sets `target` (none: deletes).
    pub fn next(current: Option<&Self>, target: Option<Cid>) -> Self {
        Self {
            original: current.and_then(|c| c.updated.clone()),
            updated: target,
            sequence: Some(current.and_then(|c| c.sequence).unwrap_or(0) + 1),
        }
    }

    /// The structure.
    pub fn to_cbor(&self) -> Value {
        let hash = |cid: &Option<Cid>| cid.as_ref().map_or(Value::Null, |c| c.to_bytes().into());
        let mut items = vec![hash(&self.original), hash(&self.updated)];
        // sequences beyond 2^63 cannot be read back, and are never produced
        items.extend(self.sequence.map(|s| Value::Int(s as i64)));
        Value::Array(items)
    }

    /// Reads the structure, with two or three elements.
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::Crypto`]; also if original and updated are equal.
    pub fn from_cbor(value: &Value) -> Result<Self> {
        let hash = |value: &Value| -> Result<Option<Cid>> {
            match value {
                Value::Null => Ok(None),
                bytes => Ok(Some(Cid::from_bytes(bytes.as_bytes("pointer target")?)?)),
            }
        };
        let (original, updated, sequence) = match value.as_array("pointer update")? {
            [original, updated] => (original, updated, None),
            [original, updated, sequence] => (original, updated, Some(sequence.as_uint("pointer sequence")?)),
            _ => return Err(Error::Invalid("pointer update")),
        };
        let update = Self { original: hash(original)?, updated: hash(updated)?, sequence };
        if update.original == update.updated {
            return Err(Error::Invalid("pointer update that changes nothing"));
        }
        Ok(update)
    }

    /// The signed form, as it is stored and sent.
    pub fn sign(&self, writer: &SecretSigningKey) -> Vec<u8> {
        writer.sign(&self.to_cbor().encode())
    }

    /// Verifies and reads the signed form.
    ///
    /// # Errors
    /// [`Error::Crypto`] if the signature does not verify, [`Error::Invalid`] if it is too long or malformed.
    pub fn open(signed: &[u8], writer: &PublicSigningKey) -> Result<Self> {
        if signed.len() > MAX_SIGNED {
            return Err(Error::Invalid("pointer update, which is too big"));
        }
        Self::from_cbor(&Value::decode(writer.open(signed)?)?)
    }
}

/// A signed pointer update and the writer it is for: an element of a `MultiWriterCommit`.
#[derive(Debug, Clone)]
pub struct PointerWrite {
    /// Whose pointer.
    pub writer: KeyHash,
    /// The signed [`PointerUpdate`].
    pub signed: Vec<u8>,
}

impl PointerWrite {
    /// The structure `{"s": signed, "w": writer}`.
    pub fn to_cbor(&self) -> Value {
        cbor_map! { "s" => self.signed.as_slice(), "w" => &self.writer }
    }

    /// Reads the structure, without verifying the signature.
    ///
    /// # Errors
    /// [`Error::Crypto`] if it is malformed.
    pub fn from_cbor(value: &Value) -> Result<Self> {
        let map = value.as_map("pointer write")?;
        Ok(Self {
            writer: KeyHash::from_cbor(map.require("w", "pointer write")?, "pointer write")?,
            signed: map.require("s", "pointer write")?.as_bytes("pointer write")?.to_vec(),
        })
    }
}

//! Block access tokens: secrets that authorise the retrieval, not the reading, of a ciphertext (spec 02 §4).

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{
    Error, Result,
    cbor::Value,
    cbor_map,
    cid::{Cid, Codec},
    multibase, random,
};

/// What starts a raw block that carries BAT ids (spec 02 §5.2).
pub const RAW_MAGIC: [u8; 8] = [0x71, 0x1d, 0x10, 0xcf, 0x3d, 0x32, 0x2f, 0x2b];

/// A block access token: 32 secret bytes, `{"s": bstr}`. Erased when dropped, never shown.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Bat([u8; 32]);

impl Bat {
    /// A fresh random token.
    ///
    /// # Errors
    /// [`Error::Randomness`].
    pub fn generate() -> Result<Self> {
        Ok(Self(random::bytes()?))
    }

    /// A token from its secret.
    pub const fn from_bytes(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// The secret.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The structure `{"s": bstr}`.
    pub fn to_cbor(&self) -> Value {
        cbor_map! { "s" => self.0 }
    }

    /// Reads the structure `{"s": bstr}`.
    ///
    /// # Errors
    /// [`Error::Structure`].
    pub fn from_cbor(value: &Value) -> Result<Self> {
        let secret = value.as_map("BAT")?.require("s", "BAT secret")?;
        Ok(Self(secret.as_array_of("BAT secret")?))
    }

    /// The multibase text of the secret, as the BAT store's calls carry it.
    pub fn to_text(&self) -> String {
        multibase::encode(&self.0)
    }

    /// Reads [`Bat::to_text`].
    ///
    /// # Errors
    /// [`Error::Cid`], or [`Error::Structure`] if it is not 32 bytes.
    pub fn from_text(text: &str) -> Result<Self> {
        let secret = zeroize::Zeroizing::new(multibase::decode(text)?);
        secret.as_slice().try_into().map(Self).map_err(|_| Error::Structure("BAT secret"))
    }

    /// The id that stands inside a block: an identity CID of the secret itself.
    pub fn inline_id(&self) -> Cid {
        Cid::identity(Codec::Raw, &self.0).expect("32 bytes fit an identity CID")
    }

    /// The id of an inline token in requests and next to fragment links: the hash of its CBOR.
    pub fn chunk_id(&self) -> Cid {
        Cid::of_block(Codec::Raw, &self.to_cbor().encode())
    }

    /// The id of a mirror token: the hash of the bare secret.
    pub fn mirror_id(&self) -> Cid {
        Cid::of_block(Codec::Raw, &self.0)
    }

    /// The token with its [`Bat::chunk_id`].
    pub fn with_chunk_id(&self) -> BatWithId {
        BatWithId { id: self.chunk_id(), bat: self.clone() }
    }
}

impl PartialEq for Bat {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Bat {}

impl fmt::Debug for Bat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bat")
    }
}

/// A token with its id, as requests carry it: `{"b": Bat, "i": bytes}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatWithId {
    /// The token.
    pub bat: Bat,
    /// Its id: raw codec, not an identity CID.
    pub id: Cid,
}

impl BatWithId {
    /// The structure `{"b": Bat, "i": bytes}`.
    pub fn to_cbor(&self) -> Value {
        cbor_map! { "b" => self.bat.to_cbor(), "i" => self.id.to_bytes() }
    }

    /// Reads the structure `{"b": Bat, "i": bytes}`.
    ///
    /// # Errors
    /// [`Error::Structure`], also for an id that is an identity CID or not raw.
    pub fn from_cbor(value: &Value) -> Result<Self> {
        let map = value.as_map("BAT with id")?;
        let id = Cid::from_bytes(map.require("i", "BAT id")?.as_bytes("BAT id")?)?;
        if id.codec() != Codec::Raw || id.identity_content().is_some() {
            return Err(Error::Structure("BAT id"));
        }
        Ok(Self { bat: Bat::from_cbor(map.require("b", "BAT")?)?, id })
    }

    /// The multibase text of the CBOR, as URLs carry it.
    pub fn to_text(&self) -> String {
        multibase::encode(&self.to_cbor().encode())
    }

    /// Reads [`BatWithId::to_text`].
    ///
    /// # Errors
    /// [`Error::Cid`] or [`Error::Structure`].
    pub fn from_text(text: &str) -> Result<Self> {
        Self::from_cbor(&Value::decode(&multibase::decode(text)?)?)
    }
}

/// Whether whoever presents `token` may retrieve a block that carries the ids `ids` (spec 02 §4.3): the block is public,
/// or the token is its inline token, or one whose hash it names (a mirror token). Takes the same time whatever the token.
pub fn authorises(ids: &[Cid], token: Option<&BatWithId>) -> bool {
    let Some(token) = token else { return ids.is_empty() };
    let mirror = Sha256::digest(token.bat.0);
    let matches = ids.iter().fold(Choice::from(0), |found, id| {
        let (inline, hash) = (id.identity_content(), id.sha256_digest());
        found
            | inline.map_or(Choice::from(0), |secret| secret.ct_eq(&token.bat.0))
            | hash.map_or(Choice::from(0), |hash| hash[..].ct_eq(&mirror))
    });
    ids.is_empty() || matches.into()
}

/// The BAT ids as the list that blocks carry: `[* bytes]`.
pub fn ids_to_cbor(ids: &[Cid]) -> Value {
    Value::Array(ids.iter().map(|id| id.to_bytes().into()).collect())
}

/// Reads a list of BAT ids.
///
/// # Errors
/// [`Error::Structure`] or [`Error::Cid`].
pub fn ids_from_cbor(value: &Value) -> Result<Vec<Cid>> {
    let ids = value.as_array("BAT ids")?;
    ids.iter().map(|id| Cid::from_bytes(id.as_bytes("BAT id")?)).collect()
}

/// What precedes the ciphertext in a raw block that carries `ids` (spec 02 §5.2).
pub fn raw_prefix(ids: &[Cid]) -> Vec<u8> {
    let mut prefix = RAW_MAGIC.to_vec();
    ids_to_cbor(ids).encode_to(&mut prefix);
    prefix
}

/// Splits a raw block into its BAT ids (none on legacy blocks) and the ciphertext.
///
/// # Errors
/// [`Error::Structure`] or [`Error::Cbor`] if the magic is followed by anything but a list of ids.
pub fn split_raw(block: &[u8]) -> Result<(Vec<Cid>, &[u8])> {
    let Some(rest) = block.strip_prefix(&RAW_MAGIC) else {
        return Ok((Vec::new(), block));
    };
    let (ids, len) = Value::decode_prefix(rest)?;
    Ok((ids_from_cbor(&ids)?, &rest[len..]))
}

/// The BAT ids that a block carries (spec 02 §4.2); an empty list means public.
///
/// # Errors
/// As [`split_raw`], and [`Error::Cbor`] for a dag-cbor block that is not CBOR.
pub fn ids_of_block(codec: Codec, block: &[u8]) -> Result<Vec<Cid>> {
    match codec {
        Codec::Raw => split_raw(block).map(|(ids, _)| ids),
        Codec::DagCbor => {
            // anything but a map is public
            Value::decode_entry(block, "bats")?.as_ref().map_or(Ok(Vec::new()), ids_from_cbor)
        }
        _ => Ok(Vec::new()),
    }
}

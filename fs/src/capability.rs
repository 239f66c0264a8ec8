//! Capabilities: what it takes to find, fetch, decrypt and perhaps change one entry of the tree (spec 03 §2).

mod relative;
mod stream;
mod text;

pub use relative::{ChildLink, RelativeCapability};
pub use stream::StreamSecret;

use std::fmt;

use peergos_crypto::{
    Result,
    bat::Bat,
    cbor::{Map, Value},
    random,
    signing::KeyHash,
    symmetric::SymmetricKey,
};
use peergos_net::ChampCap;

/// Where a chunk stands in its writer's CHAMP: 32 bytes that say nothing about its content.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MapKey(pub [u8; 32]);

impl MapKey {
    /// A fresh random place.
    ///
    /// # Errors
    /// [`peergos_crypto::Error::Randomness`].
    pub fn generate() -> Result<Self> {
        Ok(Self(random::bytes()?))
    }
}

impl fmt::Debug for MapKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "MapKey({a:02x}{b:02x}{c:02x}{d:02x})")
    }
}

/// An absolute capability: access to one chunk, and by it to the entry or to what follows in it (spec 03 §2.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    /// The identity of the account that the entry belongs to.
    pub owner: KeyHash,
    /// The key that signs the writing space of the chunk.
    pub writer: KeyHash,
    /// The place in that writing space.
    pub map_key: MapKey,
    /// The token without which a server does not hand out the node; none on legacy entries.
    pub bat: Option<Bat>,
    /// The read base key; of a directory reached through a parent link its parent key.
    pub read: SymmetricKey,
    /// The write base key, on writable capabilities.
    pub write: Option<SymmetricKey>,
}

impl Capability {
    /// A writable capability for an entry that does not exist yet: random place, token and keys.
    ///
    /// # Errors
    /// [`peergos_crypto::Error::Randomness`].
    pub fn generate(owner: &KeyHash, writer: &KeyHash) -> Result<Self> {
        Ok(Self {
            owner: owner.clone(),
            writer: writer.clone(),
            map_key: MapKey::generate()?,
            bat: Some(Bat::generate()?),
            read: SymmetricKey::generate()?,
            write: Some(SymmetricKey::generate()?),
        })
    }

    /// The capability of another chunk of the same entry.
    pub fn at(&self, map_key: MapKey, bat: Option<Bat>) -> Self {
        Self { map_key, bat, ..self.clone() }
    }

    /// The capability without the right to write.
    pub fn read_only(&self) -> Self {
        Self { write: None, ..self.clone() }
    }

    /// What a CHAMP lookup of the chunk asks for.
    pub fn champ_cap(&self) -> ChampCap {
        ChampCap { map_key: self.map_key.0, bat: self.bat.as_ref().map(Bat::with_chunk_id) }
    }

    /// The structure `abscap`.
    pub fn to_cbor(&self) -> Value {
        let mut map = Map::new();
        map.insert_some("a", self.bat.as_ref().map(Bat::to_cbor));
        map.insert_some("b", self.write.as_ref().map(SymmetricKey::to_cbor));
        map.insert("k", self.read.to_cbor());
        map.insert("m", self.map_key.0);
        map.insert("o", &self.owner);
        map.insert("w", &self.writer);
        Value::Map(map)
    }

    /// Reads the structure `abscap`.
    ///
    /// # Errors
    /// [`peergos_crypto::Error::Structure`] or [`peergos_crypto::Error::Key`].
    pub fn from_cbor(value: &Value) -> Result<Self> {
        let map = value.as_map("capability")?;
        Ok(Self {
            owner: KeyHash::from_cbor(map.require("o", "capability owner")?, "capability owner")?,
            writer: KeyHash::from_cbor(map.require("w", "capability writer")?, "capability writer")?,
            map_key: MapKey(map.require("m", "map key")?.as_array_of("map key")?),
            bat: map.get("a").map(Bat::from_cbor).transpose()?,
            read: SymmetricKey::from_cbor(map.require("k", "read key")?)?,
            write: map.get("b").map(SymmetricKey::from_cbor).transpose()?,
        })
    }
}

//! Capabilities inside a node, which leave out what they share with the node that holds them (spec 03 §2.4, §2.5).

use std::fmt;

use peergos_crypto::{
    Error, Result,
    bat::Bat,
    cbor::{Map, Value},
    signing::KeyHash,
    symmetric::{CipherText, SymmetricKey},
};
use zeroize::Zeroizing;

use super::{Capability, MapKey};
use crate::cryptree::Properties;

/// A capability relative to that of the node which contains it: link to a child, to the parent, or to the next chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelativeCapability {
    /// The target's writer, if it is not the container's.
    pub writer: Option<KeyHash>,
    /// The target's place.
    pub map_key: MapKey,
    /// The target's token; none on legacy entries.
    pub bat: Option<Bat>,
    /// The target's read key; in links to a parent its parent key.
    pub read: SymmetricKey,
    /// The target's write key under the container's, in links to children.
    pub write: Option<CipherText>,
}

impl RelativeCapability {
    /// A link from the node of `container` to `target`. Whoever can write the container can then write the target.
    ///
    /// # Errors
    /// [`Error::Structure`] if the owners differ: links never leave an account. [`Error::Randomness`].
    pub fn relativise(container: &Capability, target: &Capability) -> Result<Self> {
        if container.owner != target.owner {
            return Err(Error::Structure("link to another account"));
        }
        let write = match (&container.write, &target.write) {
            (Some(outer), Some(inner)) if outer != inner => {
                Some(CipherText::seal(outer, &Zeroizing::new(inner.to_cbor()), 1)?)
            }
            _ => None,
        };
        Ok(Self {
            writer: (container.writer != target.writer).then(|| target.writer.clone()),
            map_key: target.map_key,
            bat: target.bat.clone(),
            read: target.read.clone(),
            write,
        })
    }

    /// The capability that this is in a node at `from`; writable if `from` is and the link holds a write key.
    ///
    /// # Errors
    /// [`Error::Decryption`] or [`Error::Structure`] if the write key does not open.
    pub fn absolutise(&self, from: &Capability) -> Result<Capability> {
        let write = match (&self.write, &from.write) {
            (Some(sealed), Some(key)) => Some(SymmetricKey::from_cbor(&Zeroizing::new(sealed.open(key)?))?),
            _ => None,
        };
        Ok(Capability {
            owner: from.owner.clone(),
            writer: self.writer.as_ref().unwrap_or(&from.writer).clone(),
            map_key: self.map_key,
            bat: self.bat.clone(),
            read: self.read.clone(),
            write,
        })
    }

    fn to_map(&self) -> Map {
        let mut map = Map::new();
        map.insert_some("a", self.bat.as_ref().map(Bat::to_cbor));
        map.insert("k", self.read.to_cbor());
        map.insert_some("l", self.write.as_ref().map(CipherText::to_cbor));
        map.insert("m", self.map_key.0);
        map.insert_some("w", self.writer.as_ref());
        map
    }

    /// The structure `relcap`.
    pub fn to_cbor(&self) -> Value {
        Value::Map(self.to_map())
    }

    /// Reads the structure `relcap`.
    ///
    /// # Errors
    /// [`Error::Structure`] or [`Error::Key`].
    pub fn from_cbor(value: &Value) -> Result<Self> {
        let map = value.as_map("relative capability")?;
        Ok(Self {
            writer: map.get("w").map(|w| KeyHash::from_cbor(w, "link writer")).transpose()?,
            map_key: MapKey(map.require("m", "map key")?.as_array_of("map key")?),
            bat: map.get("a").map(Bat::from_cbor).transpose()?,
            read: SymmetricKey::from_cbor(map.require("k", "read key")?)?,
            write: map.get("l").map(CipherText::from_cbor).transpose()?,
        })
    }
}

/// An entry of a children list: a named link with hints (spec 03 §2.5).
///
/// The hints may be absent (older entries) or stale: what counts is in the child's own properties. The name is as the
/// writer of the directory gave it and may be one that no file system takes: see [`crate::cryptree::check_name`].
#[derive(Clone, PartialEq, Eq)]
pub struct ChildLink {
    /// The link.
    pub cap: RelativeCapability,
    /// The child's name.
    pub name: String,
    /// When the child was created, in seconds since 1970 UTC.
    pub created: Option<i64>,
    /// Whether the child is a directory; of a link node whether its target is.
    pub is_dir: Option<bool>,
    /// The child's mime type, empty for directories.
    pub mime: Option<String>,
    /// Keys that this version does not know; kept when the list is rewritten.
    pub unknown: Map,
}

impl ChildLink {
    /// The entry for `child`, with the properties of its first chunk, in the directory at `directory`.
    ///
    /// # Errors
    /// As [`RelativeCapability::relativise`].
    pub fn new(directory: &Capability, child: &Capability, properties: &Properties) -> Result<Self> {
        Ok(Self {
            cap: RelativeCapability::relativise(directory, child)?,
            name: properties.name.clone(),
            created: Some(properties.created.secs),
            is_dir: Some(properties.is_dir),
            mime: Some(properties.mime.clone()),
            unknown: Map::new(),
        })
    }

    /// The structure `relcap` with name and hints.
    pub fn to_cbor(&self) -> Value {
        let mut map = self.cap.to_map();
        map.insert_some("c", self.created);
        map.insert_some("d", self.is_dir);
        map.insert("n", self.name.as_str());
        map.insert_some("t", self.mime.as_deref());
        for (key, value) in self.unknown.iter() {
            map.insert(key, value.clone());
        }
        Value::Map(map)
    }

    /// Reads the structure `relcap` with name and hints.
    ///
    /// # Errors
    /// [`Error::Structure`] or [`Error::Key`].
    pub fn from_cbor(value: &Value) -> Result<Self> {
        const KNOWN: [&str; 9] = ["a", "c", "d", "k", "l", "m", "n", "t", "w"];
        let map = value.as_map("child link")?;
        Ok(Self {
            cap: RelativeCapability::from_cbor(value)?,
            name: map.require("n", "child name")?.as_text("child name")?.to_owned(),
            created: map.get("c").map(|c| c.as_int("child creation time")).transpose()?,
            is_dir: map.get("d").map(|d| d.as_bool("child is directory")).transpose()?,
            mime: map.get("t").map(|t| t.as_text("child mime type").map(str::to_owned)).transpose()?,
            unknown: map.iter().filter(|(k, _)| !KNOWN.contains(k)).map(|(k, v)| (k, v.clone())).collect(),
        })
    }
}

impl fmt::Debug for ChildLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildLink").field("cap", &self.cap).finish_non_exhaustive()
    }
}

//! The block of one chunk (spec 03 §3.1, §3.2).

use bytes::Bytes;
use peergos_crypto::{
    Error, Result, bat,
    cbor::{Map, Value},
    cid::{Cid, Codec},
    symmetric::{CipherText, SymmetricKey},
};
use peergos_net::Block;

use super::{Bulk, Children, FromBase, FromParent, Properties, children};
use crate::capability::{Capability, RelativeCapability};

/// The one version of the layout.
const VERSION: i64 = 1;

/// A chunk of a file or directory as a server sees it: three ciphertexts and the ids of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The ids of the tokens that unlock the block: that of this chunk first, then that of the owner's mirror if there
    /// is one. Empty on legacy nodes.
    pub bats: Vec<Cid>,
    /// [`FromBase`] under the base key.
    pub from_base: CipherText,
    /// [`FromParent`] under the parent key.
    pub from_parent: CipherText,
    /// Content or children list.
    pub data: Bulk,
}

/// What the read base key of an entry reveals of one of its nodes, all but the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Whether the payload is a children list. True for link nodes, even if their target, of which they carry the
    /// properties, is a file.
    pub is_dir: bool,
    /// The key of the properties: a directory's parent key, a file's read base key.
    pub parent_key: SymmetricKey,
    /// The key of the payload: a directory's read base key, a file's data key.
    pub data_key: SymmetricKey,
    /// The place of the next chunk, whether there is one or not.
    pub next: RelativeCapability,
    /// The key of the writing space that starts here, for [`super::open_signer`].
    pub signer: Option<CipherText>,
    /// The link to the parent; see [`FromParent::parent`].
    pub parent: Option<RelativeCapability>,
    /// Name, size, times; see [`FromParent::properties`].
    pub properties: Properties,
}

impl Node {
    /// Encrypts a node at `cap`. Its `parent_key` is a directory's parent key (then equal to `from_base.key`) or a
    /// file's read base key.
    ///
    /// # Errors
    /// [`Error::Structure`] for properties that other clients would choke on; [`Error::Randomness`].
    pub fn seal(
        cap: &Capability,
        mirror: Option<&Cid>,
        from_base: &FromBase,
        parent_key: &SymmetricKey,
        from_parent: &FromParent,
        data: Bulk,
    ) -> Result<Self> {
        Ok(Self {
            bats: block_bats(cap, mirror),
            from_base: from_base.seal(&cap.read)?,
            from_parent: from_parent.seal(parent_key)?,
            data,
        })
    }

    /// Decrypts all but the payload with the read base key, and finds out whether this is a directory.
    ///
    /// # Errors
    /// [`Error::Decryption`] if the key is another's or a directory's parent key, for which see
    /// [`Node::open_from_parent`]; [`Error::Structure`] and the like if the content is malformed.
    pub fn open(&self, read: &SymmetricKey) -> Result<Opened> {
        let file = match self.open_from_parent(read) {
            Ok(from_parent) => Some(from_parent),
            Err(Error::Decryption) => None,
            Err(malformed) => return Err(malformed),
        };
        let FromBase { key, next, signer } = FromBase::open(&self.from_base, read)?;
        let is_dir = file.is_none();
        let (parent_key, data_key, from_parent) = match file {
            Some(from_parent) => (read.clone(), key, from_parent),
            None => {
                let from_parent = self.open_from_parent(&key)?;
                (key, read.clone(), from_parent)
            }
        };
        let FromParent { parent, properties } = from_parent;
        // a link node has the properties of its target, which may be a file
        if is_dir != (properties.is_dir || properties.is_link) {
            return Err(Error::Structure("node is both file and directory"));
        }
        Ok(Opened { is_dir, parent_key, data_key, next, signer, parent, properties })
    }

    /// Decrypts parent link and properties only: what a link from a child to its parent allows.
    ///
    /// # Errors
    /// [`Error::Decryption`] for a wrong key; [`Error::Structure`] and the like if the content is malformed.
    pub fn open_from_parent(&self, parent_key: &SymmetricKey) -> Result<FromParent> {
        FromParent::open(&self.from_parent, parent_key)
    }

    /// The children list of a directory's chunk; `fragments` are the blocks of [`Bulk::fragments`] in their order.
    ///
    /// # Errors
    /// As [`Bulk::open_item`] and [`children::decode`].
    pub fn children(&self, read: &SymmetricKey, fragments: &[Bytes]) -> Result<Children> {
        children::decode(&*self.data.open_item(read, fragments)?)
    }

    /// The node with its parent link and properties replaced; nothing else changes (spec 03 §7.10).
    ///
    /// # Errors
    /// As [`FromParent::seal`].
    pub fn with_from_parent(self, parent_key: &SymmetricKey, from_parent: &FromParent) -> Result<Self> {
        Ok(Self { from_parent: from_parent.seal(parent_key)?, ..self })
    }

    /// The node as a block.
    pub fn to_block(&self) -> Block {
        Block::new(Codec::DagCbor, self.encode())
    }

    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut map = Map::new();
        map.insert("b", self.from_base.to_cbor());
        map.insert("d", self.data.to_cbor());
        map.insert("p", self.from_parent.to_cbor());
        map.insert("v", VERSION);
        if !self.bats.is_empty() {
            map.insert("bats", bat::ids_to_cbor(&self.bats));
        }
        let mut out = Vec::with_capacity(TYPICAL_LEN);
        Value::Map(map).encode_to(&mut out);
        out
    }

    /// Reads a node block.
    ///
    /// # Errors
    /// [`Error::Structure`], also for another version; [`Error::Cbor`], [`Error::Cid`].
    pub fn decode(block: &[u8]) -> Result<Self> {
        let value = Value::decode(block)?;
        let map = value.as_map("node")?;
        if map.require("v", "node version")?.as_int("node version")? != VERSION {
            return Err(Error::Structure("node version"));
        }
        Ok(Self {
            bats: map.get("bats").map_or(Ok(Vec::new()), bat::ids_from_cbor)?,
            from_base: CipherText::from_cbor(map.require("b", "from-base")?)?,
            from_parent: CipherText::from_cbor(map.require("p", "from-parent")?)?,
            data: Bulk::from_cbor(map.require("d", "node data")?)?,
        })
    }
}

/// The length of a node with an inline payload, in bytes, with some room.
const TYPICAL_LEN: usize = 5000;

/// The token ids of a node at `cap`: none without a token of its own, for a node behind the mirror's alone could not be
/// fetched with the capability (spec 03 §3.5).
fn block_bats(cap: &Capability, mirror: Option<&Cid>) -> Vec<Cid> {
    cap.bat.iter().flat_map(|bat| std::iter::once(bat.inline_id()).chain(mirror.cloned())).collect()
}

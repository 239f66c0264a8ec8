//! What a writer's pointer points to (spec 02 §9.1).

use std::collections::BTreeMap;

use peergos_crypto::{
    cbor::{Map, Value},
    cid::{Cid, Codec},
    signing::KeyHash,
};

use crate::{Block, Error, Result, owned::OwnerProof};

/// The root of everything that one writer signs for. A public dag-cbor block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterData {
    /// The key that may sign pointers to this block: the writer itself.
    pub controller: KeyHash,
    /// The CHAMP of encrypted nodes, from map keys to links; writers with files.
    pub tree: Option<Cid>,
    /// The CHAMP of owner proofs (see [`crate::owned`]); absent only in old data.
    pub owned: Option<Cid>,
    /// Owner proofs with a name: `pki` on the identity that runs the PKI.
    pub named: BTreeMap<String, OwnerProof>,
    /// The public files (see [`crate::inode_fs`]); identities that published something.
    pub public: Option<Cid>,
    /// The CHAMP of secret links; identities that made some.
    pub links: Option<Cid>,
    /// The boxing key that follow requests are encrypted to; identities.
    pub inbound: Option<KeyHash>,
    /// How keys derive from the password (spec 01 §2.8); identities.
    pub algorithm: Option<Value>,
    /// The encrypted entry points of legacy identities, which have no login data on the server (spec 01 §6.5).
    pub static_data: Option<Value>,
    /// Fields that we do not know, which are kept.
    pub unknown: Map,
}

impl WriterData {
    /// The data of a fresh writer: nothing at all.
    pub const fn new(controller: KeyHash) -> Self {
        Self {
            controller,
            tree: None,
            owned: None,
            named: BTreeMap::new(),
            public: None,
            links: None,
            inbound: None,
            algorithm: None,
            static_data: None,
            unknown: Map::new(),
        }
    }

    /// The structure.
    pub fn to_cbor(&self) -> Value {
        let mut map = self.unknown.clone();
        map.insert("controller", &self.controller);
        map.insert_some("tree", self.tree.as_ref());
        map.insert_some("owned", self.owned.as_ref());
        map.insert_some("public", self.public.as_ref());
        map.insert_some("links", self.links.as_ref());
        map.insert_some("inbound", self.inbound.as_ref());
        map.insert_some("algorithm", self.algorithm.clone());
        map.insert_some("static", self.static_data.clone());
        if !self.named.is_empty() {
            let named: Map = self.named.iter().map(|(name, proof)| (name.as_str(), proof.to_cbor())).collect();
            map.insert("named", named);
        }
        Value::Map(map)
    }

    /// Reads the structure.
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::Crypto`] if a field has the wrong kind, or there is no controller.
    pub fn from_cbor(value: Value) -> Result<Self> {
        let Value::Map(mut map) = value else { return Err(Error::Invalid("WriterData")) };
        let mut link = |key| map.remove(key).map(|link| link.as_link("link in WriterData").cloned()).transpose();
        let controller = link("controller")?.ok_or(Error::Invalid("WriterData without a controller"))?;
        let inbound = link("inbound")?.map(KeyHash::from_cid).transpose()?;
        let (tree, owned, public, links) = (link("tree")?, link("owned")?, link("public")?, link("links")?);
        let mut named = BTreeMap::new();
        if let Some(proofs) = map.remove("named") {
            for (name, proof) in proofs.as_map("named owned keys")?.iter() {
                named.insert(name.to_owned(), OwnerProof::from_cbor(proof)?);
            }
        }
        Ok(Self {
            controller: KeyHash::from_cid(controller)?,
            tree,
            owned,
            named,
            public,
            links,
            inbound,
            algorithm: map.remove("algorithm"),
            static_data: map.remove("static"),
            unknown: map,
        })
    }

    /// The block.
    pub fn block(&self) -> Block {
        Block::new(Codec::DagCbor, self.to_cbor().encode())
    }

    /// Reads the block that `writer`'s pointer points to.
    ///
    /// # Errors
    /// As [`WriterData::from_cbor`], and [`Error::Invalid`] if another key controls it.
    pub fn decode(block: &[u8], writer: &KeyHash) -> Result<Self> {
        let data = Self::from_cbor(Value::decode(block)?)?;
        if data.controller == *writer { Ok(data) } else { Err(Error::Invalid("WriterData of another writer")) }
    }
}

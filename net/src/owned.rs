//! Which writers belong to whom: owner proofs, and the tree of them below an identity (spec 02 §9.3, §11.2).

use std::collections::{HashSet, VecDeque};

use peergos_crypto::{
    cbor::Value,
    cbor_map,
    cid::{Cid, Codec},
    signing::{KeyHash, SecretSigningKey},
};

use crate::{
    Block, Error, Result, WriterData,
    champ::{self, Applied, KeyHasher, NodeSource},
};

/// A writer's statement that another key owns it: `{"o": owned, "p": Sign(owned, link of owner)}`.
///
/// The owner agrees by listing the proof in its [`WriterData`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerProof {
    /// The owned key.
    pub owned: KeyHash,
    signed: Vec<u8>,
}

impl OwnerProof {
    /// Makes `owned` a possession of `owner`.
    pub fn sign(owned: &SecretSigningKey, owner: &KeyHash) -> Self {
        Self { owned: owned.hash().clone(), signed: owned.sign(&Value::from(owner).encode()) }
    }

    /// Checks that the owned key names `owner`.
    ///
    /// # Errors
    /// [`Error::Crypto`] if the signature does not verify, [`Error::Invalid`] if it names somebody else.
    pub fn verify(&self, owner: &KeyHash) -> Result<()> {
        let key = self.owned.signing_key()?;
        let named = Value::decode(key.open(&self.signed)?)?;
        // one key must not pass for several writers by spelling its hash differently
        let agrees = named == Value::from(owner) && key.hash() == self.owned;
        if agrees { Ok(()) } else { Err(Error::Invalid("owner proof for another owner")) }
    }

    /// The structure.
    pub fn to_cbor(&self) -> Value {
        cbor_map! { "o" => &self.owned, "p" => self.signed.as_slice() }
    }

    /// Reads the structure. It proves nothing before [`OwnerProof::verify`].
    ///
    /// # Errors
    /// [`Error::Crypto`] if it is malformed.
    pub fn from_cbor(value: &Value) -> Result<Self> {
        let map = value.as_map("owner proof")?;
        let owned = KeyHash::from_cbor(map.require("o", "owner proof")?, "owned key")?;
        Ok(Self { owned, signed: map.require("p", "owner proof")?.as_bytes("owner proof")?.to_vec() })
    }

    /// The block.
    pub fn block(&self) -> Block {
        Block::new(Codec::DagCbor, self.to_cbor().encode())
    }
}

/// Where the ownership of an account's keys is read from. All that it returns is checked: blocks against their CIDs,
/// pointers against their signatures.
pub trait OwnershipSource: NodeSource {
    /// A public block.
    ///
    /// # Errors
    /// Whatever keeps it from being fetched.
    fn block(&self, cid: &Cid) -> Result<Block>;

    /// The current data of a writer; none if its pointer was never set, or deleted.
    ///
    /// # Errors
    /// Whatever keeps it from being fetched.
    fn writer_data(&self, writer: &KeyHash) -> Result<Option<WriterData>>;
}

/// The key of a proof in the CHAMP of owned keys: the CBOR of the hash, last byte first, because only the end varies.
fn champ_key(owned: &KeyHash) -> Vec<u8> {
    let mut key = Value::from(owned).encode();
    key.reverse();
    key
}

/// Adds and removes owned keys in the CHAMP under `root`, and returns its new blocks with those of the new proofs.
///
/// # Errors
/// Those of `source`.
pub fn update(source: &dyn NodeSource, root: Option<&Cid>, add: &[OwnerProof], remove: &[KeyHash]) -> Result<Applied> {
    let proofs: Vec<Block> = add.iter().map(OwnerProof::block).collect();
    let removed = remove.iter().map(|owned| (champ_key(owned), None));
    let added = add.iter().zip(&proofs).map(|(proof, block)| (champ_key(&proof.owned), Some(block.cid().into())));
    let mut applied = champ::apply(source, root, removed.chain(added), KeyHasher::Identity, None)?;
    applied.blocks.splice(0..0, proofs);
    Ok(applied)
}

/// The verified proof that `owner`, whose data is `data`, owns `owned` directly; none if it does not.
///
/// # Errors
/// Those of `source`, and as [`OwnerProof::verify`].
pub fn proof(
    source: &dyn OwnershipSource,
    owner: &KeyHash,
    data: &WriterData,
    owned: &KeyHash,
) -> Result<Option<OwnerProof>> {
    let listed = match &data.owned {
        Some(root) => champ::get(source, root, &champ_key(owned), KeyHasher::Identity)?,
        None => None,
    };
    let proof = match listed {
        Some(link) => read_proof(source, &link)?,
        None => match data.named.values().find(|proof| proof.owned == *owned) {
            Some(proof) => proof.clone(),
            None => return Ok(None),
        },
    };
    if proof.owned != *owned {
        return Err(Error::Invalid("owner proof under the key of another writer"));
    }
    proof.verify(owner)?;
    Ok(Some(proof))
}

/// The verified proofs of all keys that `owner`, whose data is `data`, owns directly.
///
/// # Errors
/// Those of `source`, and as [`OwnerProof::verify`].
pub fn list(source: &dyn OwnershipSource, owner: &KeyHash, data: &WriterData) -> Result<Vec<OwnerProof>> {
    let mut proofs: Vec<OwnerProof> = data.named.values().cloned().collect();
    if let Some(root) = &data.owned {
        champ::for_each(source, root, KeyHasher::Identity, &mut |key, link| {
            let proof = read_proof(source, link)?;
            if champ_key(&proof.owned) != key {
                return Err(Error::Invalid("owner proof under the key of another writer"));
            }
            proofs.push(proof);
            Ok(())
        })?;
    }
    proofs.iter().try_for_each(|proof| proof.verify(owner))?;
    Ok(proofs)
}

fn read_proof(source: &dyn OwnershipSource, link: &Value) -> Result<OwnerProof> {
    OwnerProof::from_cbor(&Value::decode(source.block(link.as_link("link to owner proof")?)?.data())?)
}

/// A writer of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedKey {
    /// The writer.
    pub writer: KeyHash,
    /// The key that owns it directly: the identity, or another writer.
    pub parent: KeyHash,
}

/// All writers below `identity`, each once, nearest first, their proofs verified. Reads as far as it is asked to; after
/// an error it goes on with what is left.
pub fn walk<'a>(source: &'a dyn OwnershipSource, identity: &KeyHash) -> impl Iterator<Item = Result<OwnedKey>> + 'a {
    let seen = HashSet::from([identity.clone()]);
    Walk { source, seen, unread: VecDeque::from([identity.clone()]), found: VecDeque::new() }
}

struct Walk<'a> {
    source: &'a dyn OwnershipSource,
    /// Keys that have been reached: a key that owns itself, by any detour, ends there.
    seen: HashSet<KeyHash>,
    unread: VecDeque<KeyHash>,
    found: VecDeque<OwnedKey>,
}

impl Walk<'_> {
    fn read(&mut self, parent: &KeyHash) -> Result<()> {
        let Some(data) = self.source.writer_data(parent)? else { return Ok(()) };
        for OwnerProof { owned: writer, .. } in list(self.source, parent, &data)? {
            if self.seen.insert(writer.clone()) {
                self.unread.push_back(writer.clone());
                self.found.push_back(OwnedKey { writer, parent: parent.clone() });
            }
        }
        Ok(())
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<OwnedKey>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(key) = self.found.pop_front() {
                return Some(Ok(key));
            }
            let parent = self.unread.pop_front()?;
            if let Err(e) = self.read(&parent) {
                return Some(Err(e));
            }
        }
    }
}

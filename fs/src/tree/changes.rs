//! What a group of operations changes in the writing spaces.

use std::collections::{BTreeMap, HashMap};

use peergos_crypto::{cid::Cid, signing::KeyHash};
use peergos_net::Block;

use crate::{capability::MapKey, space::Signer};

/// The changes of one space.
#[derive(Clone)]
pub struct SpaceChanges {
    /// Signs for the space.
    pub signer: Signer,
    /// New values of the CHAMP: a node's block, or none to remove the key.
    pub nodes: BTreeMap<MapKey, Option<Cid>>,
    /// Writers whose spaces are deleted with this commit, and that this space owned.
    pub disowned: Vec<Signer>,
    /// Node blocks that are not stored yet.
    pub blocks: Vec<Block>,
}

/// Changes by writer.
#[derive(Clone, Default)]
pub struct Changes {
    /// The spaces that change.
    pub spaces: HashMap<KeyHash, SpaceChanges>,
}

impl Changes {
    /// The changes of the space that `signer` signs for.
    pub fn space(&mut self, signer: &Signer) -> &mut SpaceChanges {
        self.spaces.entry(signer.hash().clone()).or_insert_with(|| SpaceChanges {
            signer: signer.clone(),
            nodes: BTreeMap::new(),
            disowned: Vec::new(),
            blocks: Vec::new(),
        })
    }

    /// Stores `block` as the node at `key`.
    pub fn put(&mut self, signer: &Signer, key: MapKey, block: Block) {
        let space = self.space(signer);
        space.nodes.insert(key, Some(block.cid().clone()));
        space.blocks.push(block);
    }

    /// Removes the node at `key`, if there is one and nothing is put there.
    pub fn remove(&mut self, signer: &Signer, key: MapKey) {
        self.space(signer).nodes.entry(key).or_insert(None);
    }

    /// Takes in other changes; where both speak of one key, a new node wins over a removal.
    pub fn merge(&mut self, other: Self) {
        for (_, theirs) in other.spaces {
            let ours = self.space(&theirs.signer);
            for (key, value) in theirs.nodes {
                match value {
                    Some(cid) => drop(ours.nodes.insert(key, Some(cid))),
                    None => drop(ours.nodes.entry(key).or_insert(None)),
                }
            }
            ours.disowned.extend(theirs.disowned);
            ours.blocks.extend(theirs.blocks);
        }
    }
}

//! Writing spaces: for each writer its pointer, WriterData and CHAMP, as one consistent snapshot (spec 03 §1, §6.2).

use std::{collections::HashMap, sync::Arc};

use parking_lot::RwLock;
use peergos_crypto::{
    bat::Bat,
    cid::Cid,
    signing::{KeyHash, SecretSigningKey},
};
use peergos_net::{ChampCap, PointerUpdate, Verified, WriterData};

use crate::{
    Error, Result,
    capability::{Capability, MapKey},
    cryptree::Node,
};

/// Where a cryptree node is stored in its space, and the token that fetching it takes.
pub type Location = (MapKey, Option<Bat>);

/// The committed state of one writing space.
#[derive(Debug, Clone)]
pub struct Space {
    /// The last pointer update.
    pub pointer: PointerUpdate,
    /// What the pointer points to.
    pub data: WriterData,
}

/// A cryptree node as it is stored.
#[derive(Debug, Clone)]
pub struct StoredNode {
    /// Its block.
    pub cid: Cid,
    /// The decoded, still encrypted node.
    pub node: Node,
}

/// The spaces of one owner, as last seen or committed.
pub struct Spaces {
    node: Arc<Verified>,
    owner: KeyHash,
    known: RwLock<HashMap<KeyHash, Arc<Space>>>,
}

impl Spaces {
    /// No space known yet.
    pub fn new(node: Arc<Verified>, owner: KeyHash) -> Self {
        Self { node, owner, known: RwLock::default() }
    }

    /// The state of a space, fetched at first use.
    ///
    /// # Errors
    /// [`Error::SpaceGone`] if it has no pointer or was deleted; [`Error::Net`].
    pub fn get(&self, writer: &KeyHash) -> Result<Arc<Space>> {
        if let Some(space) = self.known.read().get(writer) {
            return Ok(space.clone());
        }
        let space = self.current(writer)?.ok_or_else(|| Error::SpaceGone(writer.clone()))?;
        Ok(self.known.write().entry(writer.clone()).or_insert(space).clone())
    }

    /// The state of a space as the node has it now, whatever was seen before; none if it has no pointer or was deleted.
    ///
    /// # Errors
    /// [`Error::Net`].
    pub fn current(&self, writer: &KeyHash) -> Result<Option<Arc<Space>>> {
        let Some(pointer) = self.node.pointer(&self.owner, writer)? else { return Ok(None) };
        let Some(target) = &pointer.updated else { return Ok(None) };
        let data = self.node.writer_data(&self.owner, writer, target)?;
        Ok(Some(Arc::new(Space { pointer, data })))
    }

    /// The spaces that were asked for so far.
    pub fn known(&self) -> Vec<(KeyHash, Arc<Space>)> {
        self.known.read().iter().map(|(writer, space)| (writer.clone(), space.clone())).collect()
    }

    /// The same spaces, except for those that are `changed`, apart from these.
    pub fn with(&self, changed: &HashMap<KeyHash, Option<Arc<Space>>>) -> Self {
        let spaces = Self::new(self.node.clone(), self.owner.clone());
        *spaces.known.write() = self.known.read().clone();
        spaces.committed(changed.clone());
        spaces
    }

    /// The same states, asked about at `node`.
    pub fn on(&self, node: Arc<Verified>) -> Self {
        let spaces = Self::new(node, self.owner.clone());
        *spaces.known.write() = self.known.read().clone();
        spaces
    }

    /// What the pointers point to, sorted: it is another after every change.
    pub fn targets(&self) -> Vec<Cid> {
        let mut targets: Vec<Cid> =
            self.known().into_iter().filter_map(|(_, space)| space.pointer.updated.clone()).collect();
        targets.sort();
        targets
    }

    /// Reads the blocks that the pointers point to.
    ///
    /// # Errors
    /// [`Error::Net`].
    pub fn read_targets(&self) -> Result<()> {
        for target in self.targets() {
            self.node.block(&self.owner, &target, None)?;
        }
        Ok(())
    }

    /// Takes over what was committed; none for a space that was deleted.
    pub fn committed(&self, changed: impl IntoIterator<Item = (KeyHash, Option<Arc<Space>>)>) {
        let mut known = self.known.write();
        for (writer, space) in changed {
            match space {
                Some(space) => known.insert(writer, space),
                None => known.remove(&writer),
            };
        }
    }

    /// The nodes at `wanted` locations of one space, in that order; none where nothing is stored.
    ///
    /// # Errors
    /// [`Error::Net`], and what [`Node::decode`] finds wrong with any of them.
    pub fn nodes(&self, writer: &KeyHash, wanted: &[Location]) -> Result<Vec<Option<StoredNode>>> {
        let space = self.get(writer)?;
        let Some(root) = &space.data.tree else {
            return Ok(vec![None; wanted.len()]);
        };
        let bats: Vec<_> = wanted.iter().map(|(_, bat)| bat.as_ref().map(Bat::with_chunk_id)).collect();
        let caps: Vec<_> =
            wanted.iter().zip(&bats).map(|((key, _), bat)| ChampCap { map_key: key.0, bat: bat.clone() }).collect();
        let cids = self.node.lookup(&self.owner, root, &caps)?;
        let present = cids.iter().zip(bats).filter_map(|(cid, bat)| Some((cid.clone()?, bat)));
        let mut blocks = self.node.blocks(&self.owner, &present.collect::<Vec<_>>())?.into_iter();
        cids.into_iter()
            .map(|cid| match (cid, blocks.len()) {
                (Some(cid), 1..) => {
                    let block = blocks.next();
                    let node = block.map(|block| Node::decode(block.data())).transpose()?;
                    Ok(node.map(|node| StoredNode { node, cid }))
                }
                _ => Ok(None),
            })
            .collect()
    }

    /// The node that a capability addresses, or none.
    ///
    /// # Errors
    /// As [`Spaces::nodes`].
    pub fn node(&self, cap: &Capability) -> Result<Option<StoredNode>> {
        let found = self.nodes(&cap.writer, &[(cap.map_key, cap.bat.clone())])?;
        Ok(found.into_iter().next().flatten())
    }
}

/// A signer shared by the entries of its space.
pub type Signer = Arc<SecretSigningKey>;

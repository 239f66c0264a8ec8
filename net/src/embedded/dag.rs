//! The graph of an account's blocks: what is reachable, and how one version differs from another (spec 02 §5.3).

use std::{collections::HashSet, sync::Arc};

use peergos_crypto::{
    cbor::Value,
    cid::{Cid, Codec},
};

use super::store::{AccountId, BlockId, BlockStore};
use crate::{
    Block, Error, Result,
    champ::{Node, NodeSource},
};

/// The blocks of one account, checked against their hashes.
#[derive(Clone, Copy)]
pub(super) struct Dag<'a> {
    pub store: &'a BlockStore,
    pub account: AccountId,
}

/// What changed between two versions, in bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Difference {
    pub gained: u64,
    pub lost: u64,
}

/// Blocks that have been reached. Half of each digest is kept, to save memory: nobody can make two blocks that agree
/// in 128 bits.
#[derive(Default)]
pub(super) struct Reached(HashSet<u128>);

impl Reached {
    fn key(id: &BlockId) -> u128 {
        let (half, _) = id.digest.split_first_chunk().expect("digests have 32 bytes");
        // the same bytes may be there as a raw block, too, which has no links
        u128::from_le_bytes(*half) ^ u128::from(id.codec == Codec::Raw)
    }

    /// Whether the block was reached.
    pub fn contains(&self, id: &BlockId) -> bool {
        self.0.contains(&Self::key(id))
    }

    fn insert(&mut self, id: &BlockId) -> bool {
        self.0.insert(Self::key(id))
    }
}

/// Adds `roots`, and all that `links` leads to, to `reached`; tells `visit` about each block when it is first reached.
fn walk(
    roots: impl IntoIterator<Item = BlockId>,
    reached: &mut Reached,
    visit: &mut dyn FnMut(&BlockId) -> Result<()>,
    links: impl Fn(&BlockId) -> Result<Vec<BlockId>>,
) -> Result<()> {
    let mut stack: Vec<BlockId> = roots.into_iter().collect();
    while let Some(id) = stack.pop() {
        if reached.insert(&id) {
            visit(&id)?;
            stack.extend(links(&id)?);
        }
    }
    Ok(())
}

impl Dag<'_> {
    /// The id of the block that a CID names, unless it is one that needs no storing, such as a key's.
    pub fn stored(&self, cid: &Cid) -> Option<BlockId> {
        BlockId::new(self.account, cid).ok()
    }

    /// A block.
    ///
    /// # Errors
    /// [`Error::MissingBlock`], [`Error::WrongBlock`], or what keeps it from being read.
    pub fn block(&self, id: &BlockId) -> Result<Block> {
        let data = self.store.get(id)?.ok_or_else(|| Error::MissingBlock(id.cid()))?;
        Block::verified(&id.cid(), data)
    }

    /// The stored blocks that a block links to.
    fn links(&self, id: &BlockId) -> Result<Vec<BlockId>> {
        if id.codec == Codec::Raw {
            return Ok(Vec::new());
        }
        let value = Value::decode(self.block(id)?.data())?;
        Ok(value.links().into_iter().filter_map(|cid| self.stored(cid)).collect())
    }

    fn size(&self, id: &BlockId) -> Result<u64> {
        Ok(self.store.locate(id)?.map_or(0, |location| location.len().into()))
    }

    /// Adds everything below `roots` to `reached`, and tells `visit` about each block when it is first reached.
    ///
    /// # Errors
    /// As [`Dag::block`] for the first block that cannot be read, and what `visit` returns.
    pub fn reach(
        &self,
        roots: impl IntoIterator<Item = BlockId>,
        reached: &mut Reached,
        visit: &mut dyn FnMut(&BlockId) -> Result<()>,
    ) -> Result<()> {
        walk(roots, reached, visit, |id| self.links(id))
    }

    /// As [`Dag::reach`] for an upload in progress, of which blocks may be missing.
    ///
    /// # Errors
    /// Those of [`Dag::reach`], except for blocks that are missing.
    pub fn reach_some(
        &self,
        roots: impl IntoIterator<Item = BlockId>,
        reached: &mut Reached,
        visit: &mut dyn FnMut(&BlockId) -> Result<()>,
    ) -> Result<()> {
        walk(roots, reached, visit, |id| match self.links(id) {
            Err(Error::MissingBlock(_)) => Ok(Vec::new()),
            links => links,
        })
    }

    /// The bytes of the blocks below `new` that are not below `old`, and the reverse. A missing block counts nothing.
    /// `visit` is called for each of them, and can end the walk.
    ///
    /// # Errors
    /// Those of reading, except for blocks that are missing or damaged, and what `visit` returns.
    pub fn difference(
        &self,
        old: Option<&Cid>,
        new: Option<&Cid>,
        visit: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Difference> {
        let [lost, gained] = self.changed(old, new, visit)?;
        let total = |of: &HashSet<BlockId>, but: &HashSet<BlockId>| {
            of.difference(but).map(|id| self.size(id)).sum::<Result<u64>>()
        };
        Ok(Difference { gained: total(&gained, &lost)?, lost: total(&lost, &gained)? })
    }

    /// Checks that all blocks are there that are below `new` and not below `old`.
    ///
    /// # Errors
    /// [`Error::MissingBlock`], and those of reading.
    pub fn require_gained(&self, old: Option<&Cid>, new: Option<&Cid>) -> Result<()> {
        let [lost, gained] = self.changed(old, new, &mut || Ok(()))?;
        for id in gained.difference(&lost) {
            self.store.locate(id)?.ok_or_else(|| Error::MissingBlock(id.cid()))?;
        }
        Ok(())
    }

    /// What is below `old` and below `new` but not in the same place. What is in the same place is not read, so the
    /// cost is that of the change. What moved from one level to another is on both sides.
    fn changed(
        &self,
        old: Option<&Cid>,
        new: Option<&Cid>,
        visit: &mut dyn FnMut() -> Result<()>,
    ) -> Result<[HashSet<BlockId>; 2]> {
        let mut sides = [old, new].map(|root| {
            let level: Vec<BlockId> = root.and_then(|cid| self.stored(cid)).into_iter().collect();
            (level.iter().copied().collect::<HashSet<_>>(), level)
        });
        while sides.iter().any(|(_, level)| !level.is_empty()) {
            let mut links: [HashSet<BlockId>; 2] = Default::default();
            for ((_, level), links) in sides.iter().zip(&mut links) {
                for id in level {
                    visit()?;
                    match self.links(id) {
                        Ok(found) => links.extend(found),
                        Err(error @ (Error::MissingBlock(_) | Error::WrongBlock(_) | Error::Crypto(_))) => {
                            tracing::error!(%error, "a version of an account is incomplete");
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
            let [old_links, new_links] = &links;
            let next = [old_links.difference(new_links), new_links.difference(old_links)];
            for ((all, level), next) in sides.iter_mut().zip(next) {
                *level = next.copied().filter(|id| all.insert(*id)).collect();
            }
        }
        Ok(sides.map(|(all, _)| all))
    }
}

impl NodeSource for Dag<'_> {
    fn node(&self, cid: &Cid) -> Result<Arc<Node>> {
        let id = self.stored(cid).ok_or(Error::Invalid("CHAMP node's CID"))?;
        Ok(Arc::new(Node::decode(self.block(&id)?.data())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_block_is_not_the_structure_of_the_same_bytes() {
        let [raw, structure] =
            [Codec::Raw, Codec::DagCbor].map(|codec| BlockId { account: AccountId(0), codec, digest: [7; 32] });
        let mut reached = Reached::default();
        assert!(reached.insert(&raw));
        assert!(reached.contains(&raw) && !reached.contains(&structure));
        assert!(reached.insert(&structure));
    }
}

//! The layer over every node that checks what it says (spec 02 §21.1): above it, nobody sees a byte whose hash, or a
//! pointer whose signature, was not verified.

mod cache;
mod lookup;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use peergos_crypto::{
    bat::BatWithId,
    cid::{Cid, Codec},
    signing::KeyHash,
};

use self::cache::Cache;
use crate::{
    Block, Error, Node, PointerUpdate, PointerWrite, Result, SignedBlock, TransactionId, WriterData,
    champ::{self, NodeSource},
    owned::OwnershipSource,
};

/// Larger blocks are fragments of files: they have a cache of their own, lest they push everything else out.
const FRAGMENT: usize = 64 << 10;

/// How much is remembered, in bytes of memory.
#[derive(Debug, Clone, Copy)]
pub struct CacheSizes {
    /// Cryptree nodes, WriterData and other blocks up to 64 KiB.
    pub blocks: usize,
    /// Decoded CHAMP nodes.
    pub champ: usize,
    /// Fragments: larger blocks.
    pub fragments: usize,
}

impl Default for CacheSizes {
    fn default() -> Self {
        Self { blocks: 16 << 20, champ: 16 << 20, fragments: 32 << 20 }
    }
}

/// A node whose answers are checked, and remembered: blocks never change. Shared between threads; no lock is held while
/// the node is asked.
pub struct Verified {
    node: Arc<dyn Node>,
    blocks: Cache<Block>,
    fragments: Cache<Block>,
    nodes: Cache<Arc<champ::Node>>,
    /// The latest pointers.
    seen: Mutex<HashMap<KeyHash, PointerUpdate>>,
}

impl Verified {
    /// Wraps a node.
    pub fn new(node: Arc<dyn Node>, sizes: CacheSizes) -> Self {
        Self {
            node,
            blocks: Cache::new(sizes.blocks),
            fragments: Cache::new(sizes.fragments),
            nodes: Cache::new(sizes.champ),
            seen: Mutex::default(),
        }
    }

    /// The node itself, for calls about accounts. Its answers are not verified.
    pub const fn node(&self) -> &Arc<dyn Node> {
        &self.node
    }

    /// A block.
    ///
    /// # Errors
    /// [`Error::MissingBlock`], [`Error::WrongBlock`], [`Error::Unauthorised`], or what keeps the node from answering.
    pub fn block(&self, owner: &KeyHash, cid: &Cid, bat: Option<&BatWithId>) -> Result<Block> {
        match self.known(cid) {
            Some(block) => Ok(block),
            None => self.admit(cid, self.node.get_block(owner, cid, bat)?),
        }
    }

    /// Several blocks, in the order asked for.
    ///
    /// # Errors
    /// As [`Verified::block`] for the first that fails.
    pub fn blocks(&self, owner: &KeyHash, wanted: &[(Cid, Option<BatWithId>)]) -> Result<Vec<Block>> {
        let mut found: Vec<Option<Block>> = wanted.iter().map(|(cid, _)| self.known(cid)).collect();
        let missing = || wanted.iter().zip(&found).filter(|(_, block)| block.is_none());
        let ask: Vec<_> = missing().map(|(wanted, _)| wanted.clone()).collect();
        if !ask.is_empty() {
            let answers = self.node.get_blocks(owner, &ask)?;
            if answers.len() != ask.len() {
                return Err(Error::Invalid("answer with another number of blocks"));
            }
            let mut answers = ask.iter().zip(answers).map(|((cid, _), data)| self.admit(cid, data));
            for slot in found.iter_mut().filter(|slot| slot.is_none()) {
                *slot = answers.next().transpose()?;
            }
        }
        Ok(found.into_iter().flatten().collect())
    }

    fn known(&self, cid: &Cid) -> Option<Block> {
        let inline = || Block::verified(cid, Bytes::copy_from_slice(cid.identity_content()?)).ok();
        self.blocks.get(cid).or_else(|| self.fragments.get(cid)).or_else(inline)
    }

    /// Checks a block that the node gave, and remembers it.
    fn admit(&self, cid: &Cid, data: Option<Bytes>) -> Result<Block> {
        let block = Block::verified(cid, data.ok_or_else(|| Error::MissingBlock(cid.clone()))?)?;
        self.remember(&block);
        Ok(block)
    }

    fn remember(&self, block: &Block) {
        let len = block.data().len();
        let cache = if len > FRAGMENT { &self.fragments } else { &self.blocks };
        cache.put(block.cid(), block.clone(), len);
    }

    /// A node of a CHAMP.
    ///
    /// # Errors
    /// As [`Verified::block`], and as [`champ::Node::decode`].
    pub fn champ_node(&self, owner: &KeyHash, cid: &Cid) -> Result<Arc<champ::Node>> {
        if let Some(node) = self.nodes.get(cid) {
            return Ok(node);
        }
        let block = match self.blocks.get(cid) {
            Some(block) => block,
            // remembered decoded, and need not be remembered twice
            None => {
                let data = self.node.get_block(owner, cid, None)?;
                Block::verified(cid, data.ok_or_else(|| Error::MissingBlock(cid.clone()))?)?
            }
        };
        self.decode(&block)
    }

    fn decode(&self, block: &Block) -> Result<Arc<champ::Node>> {
        let node = Arc::new(champ::Node::decode(block.data())?);
        // keys and links are a good part of a node, and take about twice their encoding in memory
        self.nodes.put(block.cid(), Arc::clone(&node), 2 * block.data().len() + size_of::<champ::Node>());
        Ok(node)
    }

    /// The current pointer of a writer; none if it was never set.
    ///
    /// # Errors
    /// [`Error::Crypto`] if it is not the writer's, [`Error::Rollback`] if it is older than one seen before.
    pub fn pointer(&self, owner: &KeyHash, writer: &KeyHash) -> Result<Option<PointerUpdate>> {
        // what is newer than what was seen before the node was asked is new, whatever others have seen since
        let seen = self.seen.lock().get(writer).cloned();
        let signed = self.node.get_pointer(owner, writer)?.filter(|signed| !signed.is_empty());
        let pointer = signed.map(|signed| PointerUpdate::open(&signed, &writer.signing_key()?)).transpose()?;
        if let Some(seen) = seen {
            let number = |pointer: Option<&PointerUpdate>| pointer.and_then(|pointer| pointer.sequence);
            let (before, now) = (number(Some(&seen)), number(pointer.as_ref()));
            // without numbers (old accounts) order cannot be told
            let forked = now == before && now.is_some() && pointer.as_ref().is_some_and(|p| p.updated != seen.updated);
            if now < before || pointer.is_none() || forked {
                let (seen, presented) = (before.unwrap_or(0), now.unwrap_or(0));
                return Err(Error::Rollback { writer: writer.clone(), seen, presented });
            }
        }
        if let Some(pointer) = &pointer {
            self.note(writer, pointer);
        }
        Ok(pointer)
    }

    fn note(&self, writer: &KeyHash, pointer: &PointerUpdate) {
        let mut seen = self.seen.lock();
        if seen.get(writer).is_none_or(|seen| seen.sequence < pointer.sequence) {
            seen.insert(writer.clone(), pointer.clone());
        }
    }

    /// The data that a writer's pointer points to.
    ///
    /// # Errors
    /// As [`Verified::block`], and as [`WriterData::decode`].
    pub fn writer_data(&self, owner: &KeyHash, writer: &KeyHash, cid: &Cid) -> Result<WriterData> {
        WriterData::decode(self.block(owner, cid, None)?.data(), writer)
    }

    /// The blocks and pointers of `owner`, for walks over trees and over who owns what.
    pub const fn of<'a>(&'a self, owner: &'a KeyHash) -> Of<'a> {
        Of { verified: self, owner }
    }

    /// See [`Node::start_transaction`].
    ///
    /// # Errors
    /// Those of the node; likewise for the other calls that write.
    pub fn start_transaction(&self, owner: &KeyHash) -> Result<TransactionId> {
        self.node.start_transaction(owner)
    }

    /// See [`Node::close_transaction`].
    ///
    /// # Errors
    /// Those of the node.
    pub fn close_transaction(&self, owner: &KeyHash, transaction: &TransactionId) -> Result<()> {
        self.node.close_transaction(owner, transaction)
    }

    /// See [`Node::put_blocks`]. Blocks up to 64 KiB are remembered: they will be read soon.
    ///
    /// # Errors
    /// Those of the node.
    pub fn put_blocks(
        &self,
        owner: &KeyHash,
        writer: &KeyHash,
        transaction: &TransactionId,
        codec: Codec,
        blocks: Vec<SignedBlock>,
    ) -> Result<()> {
        let small = small_ones(&blocks);
        self.node.put_blocks(owner, writer, transaction, codec, blocks)?;
        small.iter().for_each(|block| self.remember(block));
        Ok(())
    }

    /// See [`Node::put_vital_blocks`]; the same blocks are remembered.
    ///
    /// # Errors
    /// Those of the node.
    pub fn put_vital_blocks(
        &self,
        owner: &KeyHash,
        writer: &KeyHash,
        transaction: &TransactionId,
        codec: Codec,
        blocks: Vec<SignedBlock>,
    ) -> Result<()> {
        let small = small_ones(&blocks);
        self.node.put_vital_blocks(owner, writer, transaction, codec, blocks)?;
        small.iter().for_each(|block| self.remember(block));
        Ok(())
    }

    /// See [`Node::hold_blocks`].
    ///
    /// # Errors
    /// Those of the node.
    pub fn hold_blocks(&self, owner: &KeyHash, transaction: &TransactionId, blocks: &[Cid]) -> Result<bool> {
        self.node.hold_blocks(owner, transaction, blocks)
    }

    /// See [`Node::set_pointers`].
    ///
    /// # Errors
    /// Those of the node.
    pub fn set_pointers(&self, owner: &KeyHash, pointers: &[PointerWrite]) -> Result<()> {
        self.node.set_pointers(owner, pointers)?;
        for write in pointers {
            self.note(&write.writer, &PointerUpdate::open(&write.signed, &write.writer.signing_key()?)?);
        }
        Ok(())
    }
}

/// Those that will be read soon.
fn small_ones(blocks: &[SignedBlock]) -> Vec<Block> {
    blocks.iter().map(|block| &block.block).filter(|block| block.data().len() <= FRAGMENT).cloned().collect()
}

/// What one owner has on a [`Verified`] node.
#[derive(Clone, Copy)]
pub struct Of<'a> {
    verified: &'a Verified,
    owner: &'a KeyHash,
}

impl NodeSource for Of<'_> {
    fn node(&self, cid: &Cid) -> Result<Arc<champ::Node>> {
        self.verified.champ_node(self.owner, cid)
    }
}

impl OwnershipSource for Of<'_> {
    fn block(&self, cid: &Cid) -> Result<Block> {
        self.verified.block(self.owner, cid, None)
    }

    fn writer_data(&self, writer: &KeyHash) -> Result<Option<WriterData>> {
        let target = self.verified.pointer(self.owner, writer)?.and_then(|pointer| pointer.updated);
        target.map(|cid| self.verified.writer_data(self.owner, writer, &cid)).transpose()
    }
}

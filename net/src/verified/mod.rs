//! The layer over every node that checks what it says (spec 02 §21.1): above it, nobody sees a byte whose hash, or a
//! pointer whose signature, was not verified.

mod cache;
mod keeping;
mod ledger;
mod lookup;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, ops::Range, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use peergos_crypto::{
    bat::BatWithId,
    cbor::Value,
    cid::{Cid, Codec},
    signing::KeyHash,
};

use self::{cache::Cache, keeping::Keeping};
use crate::{
    Block, DiskCache, Error, Node, PointerUpdate, PointerWrite, Result, SignedBlock, TransactionId, WriterData,
    champ::{self, NodeSource},
    claim::{ClaimChain, links_from_cbor},
    owned::OwnershipSource,
};

pub use self::ledger::Ledger;

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
        Self { blocks: 8 << 20, champ: 8 << 20, fragments: 8 << 20 }
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
    ledger: Option<Ledger>,
    disk: Option<Arc<DiskCache>>,
    /// What is read is kept on disk.
    keeping: Option<Keeping>,
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
            ledger: None,
            disk: None,
            keeping: None,
        }
    }

    /// The same, with a memory for pointers and claims that outlives it. While the node is out of reach, they count as
    /// they were.
    #[must_use]
    pub fn with_ledger(self, ledger: Ledger) -> Self {
        Self { ledger: Some(ledger), ..self }
    }

    /// The same, with blocks kept on disk.
    #[must_use]
    pub fn with_disk_cache(self, disk: DiskCache) -> Self {
        Self { disk: Some(Arc::new(disk)), ..self }
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
            None => {
                let block = self.check(owner, cid, bat, self.node.get_block(owner, cid, bat)?)?;
                self.remember(&block);
                Ok(block)
            }
        }
    }

    /// Appends a range of a raw block; false if it takes the whole block to know that it is right. See
    /// [`Node::get_payload`].
    ///
    /// # Errors
    /// Those of the node.
    pub fn payload(
        &self,
        owner: &KeyHash,
        cid: &Cid,
        bat: Option<&BatWithId>,
        range: Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<bool> {
        if self.fragments.get(cid).is_some() { Ok(false) } else { self.node.get_payload(owner, cid, bat, range, out) }
    }

    /// Appends a part of a raw block, which is not verified, and returns a part of what is kept beside it; none where nothing
    /// is, or the block is at hand. See [`Node::get_part`].
    ///
    /// # Errors
    /// Those of the node.
    pub fn part(
        &self,
        owner: &KeyHash,
        cid: &Cid,
        bat: Option<&BatWithId>,
        payload: Range<usize>,
        beside: Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Vec<u8>>> {
        let is_here = self.fragments.get(cid).is_some();
        if is_here { Ok(None) } else { self.node.get_part(owner, cid, bat, payload, beside, out) }
    }

    /// Appends all that raw blocks hold; false if it takes whole blocks to know that they are right. See
    /// [`Node::get_payloads`].
    ///
    /// # Errors
    /// Those of the node.
    pub fn payloads(&self, owner: &KeyHash, wanted: &[(Cid, Option<BatWithId>)], out: &mut Vec<u8>) -> Result<bool> {
        let is_here = wanted.iter().any(|(cid, _)| self.fragments.get(cid).is_some());
        if is_here { Ok(false) } else { self.node.get_payloads(owner, wanted, out) }
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
            let mut answers = ask.iter().zip(answers);
            for slot in found.iter_mut().filter(|slot| slot.is_none()) {
                let Some(((cid, bat), data)) = answers.next() else { break };
                let block = self.check(owner, cid, bat.as_ref(), data)?;
                self.remember(&block);
                *slot = Some(block);
            }
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// A block that is at hand.
    fn known(&self, cid: &Cid) -> Option<Block> {
        let inline = || Block::verified(cid, Bytes::copy_from_slice(cid.identity_content()?)).ok();
        let on_disk = || self.on_disk(cid).inspect(|block| self.remember_in_memory(block));
        self.blocks.get(cid).or_else(|| self.fragments.get(cid)).or_else(inline).or_else(on_disk)
    }

    /// Bytes of blocks kept on disk, and how many there may be.
    pub fn disk_usage(&self) -> Option<(u64, u64)> {
        self.disk.as_ref().map(|disk| disk.usage())
    }

    fn on_disk(&self, cid: &Cid) -> Option<Block> {
        self.disk.as_ref()?.get(cid).inspect(|block| self.pin(block))
    }

    /// Checks a block that the node gave. One that arrives damaged is asked for once more.
    fn check(&self, owner: &KeyHash, cid: &Cid, bat: Option<&BatWithId>, data: Option<Bytes>) -> Result<Block> {
        let missing = || Error::MissingBlock(cid.clone());
        match Block::verified(cid, data.ok_or_else(missing)?) {
            Err(Error::WrongBlock(_)) => {
                Block::verified(cid, self.node.get_block(owner, cid, bat)?.ok_or_else(missing)?)
            }
            result => result,
        }
    }

    /// Keeps a block that was not at hand before.
    fn remember(&self, block: &Block) {
        self.remember_in_memory(block);
        self.keep(block);
    }

    fn remember_in_memory(&self, block: &Block) {
        let len = block.data().len();
        let cache = if len > FRAGMENT { &self.fragments } else { &self.blocks };
        cache.put(block.cid(), block.clone(), len);
    }

    fn keep(&self, block: &Block) {
        match &self.disk {
            Some(_) if self.keeping.is_some() => self.pin(block),
            Some(disk) => disk.put(block),
            None => {}
        }
    }

    /// A node of a CHAMP.
    ///
    /// # Errors
    /// As [`Verified::block`], and as [`champ::Node::decode`].
    pub fn champ_node(&self, owner: &KeyHash, cid: &Cid) -> Result<Arc<champ::Node>> {
        if let Some(node) = self.nodes.get(cid) {
            return Ok(node);
        }
        // in memory it is remembered decoded, and need not be remembered twice
        let block = match self.blocks.get(cid).or_else(|| self.on_disk(cid)) {
            Some(block) => block,
            None => {
                let block = self.check(owner, cid, None, self.node.get_block(owner, cid, None)?)?;
                self.keep(&block);
                block
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

    /// The current pointer of a writer; none if it was never set. Where there is a ledger and the node is out of reach,
    /// the last one that was seen.
    ///
    /// # Errors
    /// [`Error::Crypto`] if it is not the writer's, [`Error::Rollback`] if it is older than one seen before.
    pub fn pointer(&self, owner: &KeyHash, writer: &KeyHash) -> Result<Option<PointerUpdate>> {
        // what is newer than what was seen before the node was asked is new, whatever others have seen since
        let seen = self.seen(writer);
        let signed = match (self.node.get_pointer(owner, writer), &seen) {
            (Err(Error::Unreachable { .. }), Some(seen)) if self.ledger.is_some() => return Ok(Some(seen.clone())),
            (signed, _) => signed?.filter(|signed| !signed.is_empty()),
        };
        let open = |signed: &Vec<u8>| PointerUpdate::open(signed, &writer.signing_key()?);
        let pointer = signed.as_ref().map(open).transpose()?;
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
        if let (Some(pointer), Some(signed)) = (&pointer, &signed) {
            self.note(writer, pointer, signed);
        }
        Ok(pointer)
    }

    /// The newest pointer that was seen, in this run or before.
    fn seen(&self, writer: &KeyHash) -> Option<PointerUpdate> {
        let seen = self.seen.lock().get(writer).cloned();
        seen.or_else(|| self.ledger.as_ref()?.pointer(writer))
    }

    fn note(&self, writer: &KeyHash, pointer: &PointerUpdate, signed: &[u8]) {
        {
            let mut seen = self.seen.lock();
            if seen.get(writer).is_some_and(|seen| seen.sequence >= pointer.sequence) {
                return;
            }
            seen.insert(writer.clone(), pointer.clone());
        }
        if let Some(ledger) = &self.ledger
            && let Err(error) = ledger.note(writer, pointer, signed)
        {
            tracing::warn!("a pointer could not be noted, so that going back to it would go unnoticed: {error}");
        }
    }

    /// The claims on a name: none if it is free. Where there is a ledger, they must continue those that were believed
    /// before, and while the node is out of reach, those are the answer.
    ///
    /// # Errors
    /// Those of [`ClaimChain::verify`], and [`Error::ClaimConflict`].
    pub fn claims(&self, name: &str) -> Result<Option<ClaimChain>> {
        let known = self.ledger.as_ref().and_then(|ledger| ledger.claims(name));
        let links = match (self.node.get_chain(name), &known) {
            (Err(Error::Unreachable { .. }), Some(known)) => return Ok(Some(known.clone())),
            (links, _) => links_from_cbor(&Value::decode(&links?)?)?,
        };
        match &self.ledger {
            None if links.is_empty() => Ok(None),
            Some(_) if links.is_empty() && known.is_none() => Ok(None),
            None => ClaimChain::verify(name, links).map(Some),
            Some(ledger) => ledger.merge(name, links).map(Some),
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

    /// See [`Node::put_blocks`]. Blocks up to 64 KiB are remembered, since they will be read soon, and all are kept on disk.
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
        self.put(blocks, |blocks| self.node.put_blocks(owner, writer, transaction, codec, blocks))
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
        self.put(blocks, |blocks| self.node.put_vital_blocks(owner, writer, transaction, codec, blocks))
    }

    /// Stores `blocks`, and remembers those that are worth it.
    fn put(&self, blocks: Vec<SignedBlock>, store: impl FnOnce(Vec<SignedBlock>) -> Result<()>) -> Result<()> {
        let is_small = |block: &Block| block.data().len() <= FRAGMENT;
        let is_kept = |block: &&Block| self.disk.is_some() || is_small(block);
        let kept: Vec<Block> = blocks.iter().map(|signed| &signed.block).filter(is_kept).cloned().collect();
        store(blocks)?;
        for block in &kept {
            if is_small(block) {
                self.remember_in_memory(block);
            }
            self.keep(block);
        }
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
            let update = PointerUpdate::open(&write.signed, &write.writer.signing_key()?)?;
            self.note(&write.writer, &update, &write.signed);
        }
        Ok(())
    }
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

//! A node whose every word is checked (spec 02 §21.1), with what was checked kept in memory.
//!
//! Blocks are compared with their hashes, pointers with their signatures and the highest sequence number seen. Nothing
//! above this layer sees an unchecked byte.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use lru::LruCache;
use parking_lot::Mutex;
use peergos_crypto::{
    bat::BatWithId,
    cid::{Cid, Codec},
    signing::KeyHash,
};

use crate::{
    Block, ChampCap, Error, MAX_CHAMP_CAPS, Node, PointerUpdate, PointerWrite, Result, SignedBlock, TransactionId,
    WriterData,
    champ::{self, KeyHasher, KeyPath, NodeSource, Step},
    owned::OwnershipSource,
};

/// Blocks up to this many bytes are nodes of some tree, larger ones fragments: they do not push each other out.
const SMALL: usize = 64 << 10;
/// About what a decoded CHAMP node takes in memory, in bytes.
const CHAMP_NODE: usize = 2 << 10;

/// Bounds of what is kept, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct CacheSizes {
    /// Cryptree nodes, WriterData and other small blocks.
    pub blocks: usize,
    /// Decoded CHAMP nodes.
    pub champ: usize,
    /// Fragments.
    pub fragments: usize,
}

impl Default for CacheSizes {
    fn default() -> Self {
        Self { blocks: 16 << 20, champ: 16 << 20, fragments: 32 << 20 }
    }
}

/// A [`Node`] behind checks and caches. No lock is held while the node is asked.
pub struct Verified {
    node: Arc<dyn Node>,
    blocks: Cache<Bytes>,
    fragments: Cache<Bytes>,
    champ: Cache<Arc<champ::Node>>,
    seen: Mutex<HashMap<KeyHash, PointerUpdate>>,
}

/// What one owner has on a node, as the source of CHAMPs and of ownership proofs.
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
        match self.verified.pointer(self.owner, writer)?.and_then(|pointer| pointer.updated) {
            Some(target) => self.verified.writer_data(self.owner, writer, &target).map(Some),
            None => Ok(None),
        }
    }
}

/// Values by CID, bounded in bytes; the least recently used leave.
struct Cache<V> {
    limit: usize,
    state: Mutex<(LruCache<Cid, (V, usize)>, usize)>,
}

impl<V: Clone> Cache<V> {
    fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::new((LruCache::unbounded(), 0)) }
    }

    fn get(&self, cid: &Cid) -> Option<V> {
        self.state.lock().0.get(cid).map(|(value, _)| value.clone())
    }

    fn put(&self, cid: Cid, value: V, bytes: usize) {
        let mut state = self.state.lock();
        let (values, used) = &mut *state;
        *used += bytes;
        if let Some((_, old)) = values.put(cid, (value, bytes)) {
            *used -= old;
        }
        while *used > self.limit {
            match values.pop_lru() {
                Some((_, (_, bytes))) => *used -= bytes,
                None => break,
            }
        }
    }
}

impl Verified {
    /// Checks everything that `node` says.
    pub fn new(node: Arc<dyn Node>, sizes: CacheSizes) -> Self {
        Self {
            node,
            blocks: Cache::new(sizes.blocks),
            fragments: Cache::new(sizes.fragments),
            champ: Cache::new(sizes.champ),
            seen: Mutex::default(),
        }
    }

    /// The node itself, for the calls whose answers others check: accounts, claims, logins.
    pub fn node(&self) -> &Arc<dyn Node> {
        &self.node
    }

    /// The blocks and pointers of one owner.
    pub const fn of<'a>(&'a self, owner: &'a KeyHash) -> Of<'a> {
        Of { verified: self, owner }
    }

    fn cache_of(&self, len: usize) -> &Cache<Bytes> {
        if len <= SMALL { &self.blocks } else { &self.fragments }
    }

    fn cached(&self, cid: &Cid) -> Option<Block> {
        let data = self.blocks.get(cid).or_else(|| self.fragments.get(cid))?;
        Some(Block::trusted(cid.clone(), data))
    }

    fn check(&self, cid: &Cid, data: Option<Bytes>) -> Result<Block> {
        let block = Block::verified(cid, data.ok_or_else(|| Error::MissingBlock(cid.clone()))?)?;
        self.cache_of(block.data().len()).put(cid.clone(), block.data().clone(), block.data().len());
        Ok(block)
    }

    /// A block.
    ///
    /// # Errors
    /// [`Error::MissingBlock`], [`Error::WrongBlock`], [`Error::Unauthorised`], and what the node fails with.
    pub fn block(&self, owner: &KeyHash, cid: &Cid, bat: Option<&BatWithId>) -> Result<Block> {
        match (self.cached(cid), cid.identity_content()) {
            (Some(block), _) => Ok(block),
            (None, Some(content)) => Block::verified(cid, Bytes::copy_from_slice(content)),
            (None, None) => self.check(cid, self.node.get_block(owner, cid, bat)?),
        }
    }

    /// Several blocks, in the order asked for; those that are not cached are fetched together.
    ///
    /// # Errors
    /// As [`Verified::block`].
    pub fn blocks(&self, owner: &KeyHash, wanted: &[(Cid, Option<BatWithId>)]) -> Result<Vec<Block>> {
        let mut blocks: Vec<Option<Block>> = wanted.iter().map(|(cid, _)| self.cached(cid)).collect();
        let is_missing = |i: &usize| blocks[*i].is_none() && wanted[*i].0.identity_content().is_none();
        let missing: Vec<usize> = (0..wanted.len()).filter(is_missing).collect();
        let asked: Vec<_> = missing.iter().map(|i| wanted[*i].clone()).collect();
        if !asked.is_empty() {
            let answers = self.node.get_blocks(owner, &asked)?;
            if answers.len() != asked.len() {
                return Err(Error::Invalid("answer of the node: not as many blocks as were asked for"));
            }
            for (i, data) in missing.into_iter().zip(answers) {
                blocks[i] = Some(self.check(&wanted[i].0, data)?);
            }
        }
        let rest = blocks.into_iter().zip(wanted);
        rest.map(|(block, (cid, bat))| block.map_or_else(|| self.block(owner, cid, bat.as_ref()), Ok)).collect()
    }

    /// A decoded CHAMP node.
    ///
    /// # Errors
    /// As [`Verified::block`] and [`champ::Node::decode`].
    pub fn champ_node(&self, owner: &KeyHash, cid: &Cid) -> Result<Arc<champ::Node>> {
        if let Some(node) = self.champ.get(cid) {
            return Ok(node);
        }
        let data = match self.blocks.get(cid) {
            Some(data) => data,
            None => {
                let data = self.node.get_block(owner, cid, None)?;
                Block::verified(cid, data.ok_or_else(|| Error::MissingBlock(cid.clone()))?)?.data().clone()
            }
        };
        self.remember(cid, &data)
    }

    fn remember(&self, cid: &Cid, data: &[u8]) -> Result<Arc<champ::Node>> {
        let node = Arc::new(champ::Node::decode(data)?);
        self.champ.put(cid.clone(), node.clone(), CHAMP_NODE);
        Ok(node)
    }

    /// The CIDs of the nodes at map keys of the file tree under `root`, in the order asked for; none where there is
    /// nothing. What is not cached of the paths is asked for in bulk, with the nodes themselves.
    ///
    /// # Errors
    /// As [`Verified::block`]; [`Error::ChampRootMissing`].
    pub fn lookup(&self, owner: &KeyHash, root: &Cid, caps: &[ChampCap]) -> Result<Vec<Option<Cid>>> {
        let mut found: Vec<Option<Option<Cid>>> = Vec::with_capacity(caps.len());
        for cap in caps {
            found.push(self.walk(root, cap, &mut |cid| {
                let cached = self.champ.get(cid);
                let bytes = || self.blocks.get(cid).map(|data| self.remember(cid, &data)).transpose();
                cached.map_or_else(bytes, |node| Ok(Some(node)))
            })?);
        }
        let unknown: Vec<usize> = (0..caps.len()).filter(|i| found[*i].is_none()).collect();
        for batch in unknown.chunks(MAX_CHAMP_CAPS) {
            let asked: Vec<ChampCap> = batch.iter().map(|i| caps[*i].clone()).collect();
            let mut answers: HashMap<Cid, Bytes> = HashMap::new();
            for data in self.node.champ_get(owner, root, &asked)? {
                let block = Block::new(Codec::DagCbor, data);
                answers.insert(block.cid().clone(), block.data().clone());
            }
            for &i in batch {
                let value = self.walk(root, &caps[i], &mut |cid| match (self.champ.get(cid), answers.get(cid)) {
                    (Some(node), _) => Ok(Some(node)),
                    (None, Some(data)) => self.remember(cid, data).map(Some),
                    (None, None) => self.champ_node(owner, cid).map(Some),
                })?;
                if let Some(Some(cid)) = &value
                    && let Some(data) = answers.remove(cid)
                {
                    self.cache_of(data.len()).put(cid.clone(), data.clone(), data.len());
                }
                found[i] = value;
            }
        }
        Ok(found.into_iter().map(Option::flatten).collect())
    }

    /// Follows one key from the root; none if `node` does not have a node on the way.
    fn walk(
        &self,
        root: &Cid,
        cap: &ChampCap,
        node: &mut dyn FnMut(&Cid) -> Result<Option<Arc<champ::Node>>>,
    ) -> Result<Option<Option<Cid>>> {
        let path: KeyPath = KeyHasher::Identity.path(&cap.map_key);
        let mut at = root.clone();
        for depth in 0..champ::MAX_DEPTH {
            let Some(current) = node(&at)? else { return Ok(None) };
            at = match current.step(&cap.map_key, &path, depth) {
                Step::Absent => return Ok(Some(None)),
                Step::Value(value) => return Ok(Some(Some(value.as_link("tree value")?.clone()))),
                Step::Child(child) => child.clone(),
            };
        }
        Err(Error::Invalid("CHAMP, which is too deep"))
    }

    /// The last pointer update of a writer, or none.
    ///
    /// # Errors
    /// [`Error::Crypto`] if the signature is not the writer's, [`Error::Rollback`] if it is older than one seen before.
    pub fn pointer(&self, owner: &KeyHash, writer: &KeyHash) -> Result<Option<PointerUpdate>> {
        let signed = self.node.get_pointer(owner, writer)?;
        let update = signed.map(|signed| PointerUpdate::open(&signed, &writer.signing_key()?)).transpose()?;
        let mut seen = self.seen.lock();
        let sequence = |update: &PointerUpdate| update.sequence.unwrap_or(0);
        let (before, now) = (seen.get(writer), update.as_ref());
        if let Some(before) = before
            && now.is_none_or(|now| {
                sequence(now) < sequence(before)
                    || sequence(now) == sequence(before) && now.updated != before.updated && now.sequence.is_some()
            })
        {
            let (seen, presented) = (sequence(before), now.map_or(0, sequence));
            return Err(Error::Rollback { writer: writer.clone(), seen, presented });
        }
        if let Some(update) = &update {
            seen.insert(writer.clone(), update.clone());
        }
        Ok(update)
    }

    /// The WriterData block `cid` of a writer.
    ///
    /// # Errors
    /// As [`Verified::block`]; [`Error::Invalid`] if another key controls it.
    pub fn writer_data(&self, owner: &KeyHash, writer: &KeyHash, cid: &Cid) -> Result<WriterData> {
        WriterData::decode(self.block(owner, cid, None)?.data(), writer)
    }

    /// See [`Node::start_transaction`].
    ///
    /// # Errors
    /// What the node fails with; likewise below.
    pub fn start_transaction(&self, owner: &KeyHash) -> Result<TransactionId> {
        self.node.start_transaction(owner)
    }

    /// See [`Node::close_transaction`].
    ///
    /// # Errors
    /// What the node fails with.
    pub fn close_transaction(&self, owner: &KeyHash, transaction: &TransactionId) -> Result<()> {
        self.node.close_transaction(owner, transaction)
    }

    /// Stores blocks (see [`Node::put_blocks`]); small ones are kept, for they are likely to be read again.
    ///
    /// # Errors
    /// What the node fails with.
    pub fn put_blocks(
        &self,
        owner: &KeyHash,
        writer: &KeyHash,
        transaction: &TransactionId,
        codec: Codec,
        blocks: Vec<SignedBlock>,
    ) -> Result<()> {
        if codec == Codec::DagCbor {
            for SignedBlock { block, .. } in &blocks {
                self.cache_of(block.data().len()).put(block.cid().clone(), block.data().clone(), block.data().len());
            }
        }
        self.node.put_blocks(owner, writer, transaction, codec, blocks)
    }

    /// Sets pointers (see [`Node::set_pointers`]).
    ///
    /// # Errors
    /// What the node fails with.
    pub fn set_pointers(&self, owner: &KeyHash, pointers: &[PointerWrite]) -> Result<()> {
        self.node.set_pointers(owner, pointers)?;
        let mut seen = self.seen.lock();
        for pointer in pointers {
            let update = PointerUpdate::open(&pointer.signed, &pointer.writer.signing_key()?)?;
            seen.insert(pointer.writer.clone(), update);
        }
        Ok(())
    }
}

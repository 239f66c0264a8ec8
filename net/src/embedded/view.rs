//! An account as it will be if a commit succeeds: pointer updates are checked and applied here before anything is
//! stored (spec 02 §8.3).

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use peergos_crypto::{cbor::Value, cid::Cid, signing::KeyHash};

use super::{
    dag::Dag,
    store::{AccountId, Batch, BlockStore, Kv, Table},
};
use crate::{
    Block, Error, PointerUpdate, PointerWrite, Result, WriterData,
    champ::{Node, NodeSource},
    owned::{self, OwnershipSource},
    pointer::MAX_SIGNED,
};

/// Changes on top of what is stored.
pub(super) struct View<'a> {
    kv: &'a Kv,
    dag: Dag<'a>,
    /// Blocks that are not stored yet.
    blocks: HashMap<Cid, Block>,
    pointers: BTreeMap<KeyHash, (PointerUpdate, Vec<u8>)>,
    ownership_changed: bool,
}

impl<'a> View<'a> {
    /// The account as it is.
    pub fn new(kv: &'a Kv, store: &'a BlockStore, account: AccountId) -> Self {
        let dag = Dag { store, account };
        Self { kv, dag, blocks: HashMap::new(), pointers: BTreeMap::new(), ownership_changed: false }
    }

    /// Adds a block, which was validated.
    pub fn add(&mut self, block: Block) {
        self.blocks.insert(block.cid().clone(), block);
    }

    /// The blocks that were added.
    pub fn added(&self) -> Vec<&Block> {
        self.blocks.values().collect()
    }

    /// Checks an update of a pointer, and applies it. Whether the writer may write at all is for the caller to know.
    ///
    /// # Errors
    /// [`Error::PointerCas`], [`Error::Sequence`] or [`Error::Refused`] in the words of spec 02 §22, or what is wrong with
    /// an owner proof.
    pub fn set(&mut self, write: &PointerWrite) -> Result<()> {
        let PointerWrite { writer, signed } = write;
        if signed.len() > MAX_SIGNED {
            return Err(Error::Refused(format!("Pointer update too big! {}", signed.len())));
        }
        let key = writer
            .signing_key()
            .map_err(|_| Error::Refused(format!("Couldn't retrieve writer key from ipfs with hash {writer}")))?;
        let update = PointerUpdate::open(signed, &key)?;
        let current = self.pointer(writer)?;
        let (target, sequence) = current.map_or((None, None), |current| (current.updated, current.sequence));
        if update.original != target {
            return Err(Error::PointerCas { existing: target, sequence, claimed: update.original });
        }
        if sequence.is_some() && update.sequence <= sequence {
            return Err(Error::Sequence { current: sequence, updated: update.sequence });
        }
        let after = update.updated.as_ref().map(|cid| self.target(writer, cid)).transpose()?;
        // old data that cannot be read must not keep new data out
        let before = target.map(|cid| self.data(&cid)).transpose();
        let proofs = |data: &Option<WriterData>| data.as_ref().map(|data| (data.owned.clone(), data.named.clone()));
        if !before.is_ok_and(|before| proofs(&before) == proofs(&after)) {
            self.ownership_changed = true;
            // one bad proof must not cost the account all the others
            after.iter().try_for_each(|data| owned::list(self, writer, data).map(drop))?;
        }
        self.pointers.insert(writer.clone(), (update, signed.clone()));
        Ok(())
    }

    /// The data that a new pointer points to.
    fn target(&self, writer: &KeyHash, cid: &Cid) -> Result<WriterData> {
        let block = match OwnershipSource::block(self, cid) {
            Err(Error::MissingBlock(_)) => {
                return Err(Error::Refused(format!("Couldn't retrieve WriterData from dht! {cid}")));
            }
            block => block?,
        };
        let data = WriterData::from_cbor(Value::decode(block.data())?)?;
        if data.controller != *writer {
            return Err(Error::WrongController(writer.clone()));
        }
        Ok(data)
    }

    fn data(&self, cid: &Cid) -> Result<WriterData> {
        WriterData::from_cbor(Value::decode(OwnershipSource::block(self, cid)?.data())?)
    }

    /// The last update of a writer's pointer.
    pub fn pointer(&self, writer: &KeyHash) -> Result<Option<PointerUpdate>> {
        if let Some((update, _)) = self.pointers.get(writer) {
            return Ok(Some(update.clone()));
        }
        stored_pointer(self.kv, self.dag.account, writer)
    }

    /// Whether the pointers applied may have changed who belongs to the account.
    pub const fn ownership_changed(&self) -> bool {
        self.ownership_changed
    }

    /// The identity and all that it owns.
    ///
    /// # Errors
    /// For the first writer whose data cannot be read.
    pub fn writers(&self, identity: &KeyHash) -> Result<HashSet<KeyHash>> {
        let owned = owned::walk(self, identity).map(|key| Ok(key?.writer));
        owned.chain([Ok(identity.clone())]).collect()
    }

    /// As [`View::writers`], but a block that is damaged disowns nobody of those `before`: what they stored would be
    /// garbage.
    ///
    /// # Errors
    /// What keeps the store from being read.
    pub fn writers_since(&self, before: &HashSet<KeyHash>, identity: &KeyHash) -> Result<HashSet<KeyHash>> {
        let mut writers = HashSet::from([identity.clone()]);
        for key in owned::walk(self, identity) {
            match key {
                Ok(key) => drop(writers.insert(key.writer)),
                Err(error @ (Error::Io { .. } | Error::Store(_) | Error::DiskFull)) => return Err(error),
                Err(error) => {
                    tracing::error!(%error, "owned keys could not be read");
                    writers.extend(before.iter().cloned());
                }
            }
        }
        Ok(writers)
    }

    /// Adds the new pointers to `batch`, and returns whose they are.
    pub fn save(&self, batch: &mut Batch) -> Vec<KeyHash> {
        for (writer, (_, signed)) in &self.pointers {
            batch.put(Table::Pointers, pointer_key(self.dag.account, writer), signed.as_slice());
        }
        self.pointers.keys().cloned().collect()
    }
}

impl NodeSource for View<'_> {
    fn node(&self, cid: &Cid) -> Result<Arc<Node>> {
        Ok(Arc::new(Node::decode(OwnershipSource::block(self, cid)?.data())?))
    }
}

impl OwnershipSource for View<'_> {
    fn block(&self, cid: &Cid) -> Result<Block> {
        if let Some(block) = self.blocks.get(cid) {
            return Ok(block.clone());
        }
        self.dag.block(&self.dag.stored(cid).ok_or_else(|| Error::MissingBlock(cid.clone()))?)
    }

    fn writer_data(&self, writer: &KeyHash) -> Result<Option<WriterData>> {
        let target = self.pointer(writer)?.and_then(|pointer| pointer.updated);
        target.map(|cid| self.data(&cid)).transpose()
    }
}

/// The key of a pointer's row.
pub(super) fn pointer_key(account: AccountId, writer: &KeyHash) -> Vec<u8> {
    account.row(&writer.cid().to_bytes())
}

/// The last update of a writer's pointer that was committed.
pub(super) fn stored_pointer(kv: &Kv, account: AccountId, writer: &KeyHash) -> Result<Option<PointerUpdate>> {
    kv.get(Table::Pointers, &pointer_key(account, writer))?.map(|signed| read_pointer(&signed)).transpose()
}

/// Reads a stored pointer, whose signature was verified before it was stored.
pub(super) fn read_pointer(signed: &[u8]) -> Result<PointerUpdate> {
    let (_, update) = signed
        .split_first_chunk::<{ peergos_crypto::signing::SIGNATURE_LEN }>()
        .ok_or(Error::Invalid("stored pointer"))?;
    PointerUpdate::from_cbor(&Value::decode(update)?)
}

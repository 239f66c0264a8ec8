//! From changes to blocks to pointers.

use std::{collections::HashSet, sync::Arc};

use parking_lot::Mutex;
use peergos_crypto::{
    cbor::Value,
    cid::{Cid, Codec},
    signing::KeyHash,
};
use peergos_net::{
    Block, PointerUpdate, PointerWrite, TransactionId,
    champ::{self, KeyHasher},
    owned,
};
use rayon::prelude::*;

use crate::{
    Error, Result,
    space::{Signer, Space},
    tree::{Changes, Drive, SpaceChanges},
};

/// The most bytes of blocks in one call to the node, which a server gets as several requests at a time.
const BATCH: usize = 8 << 20;

/// How blocks stand when there is little room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// They are content, or belong to a commit that adds some.
    Ordinary,
    /// They belong to a commit that adds no content, and may make room.
    Vital,
}

/// The transactions under which blocks are stored until a pointer reaches them. What is stored after a group was closed
/// is protected by another transaction than the group's.
pub struct Upload {
    drive: Arc<Drive>,
    current: Mutex<Option<TransactionId>>,
    /// Those of groups that failed: what they protect goes into a later group.
    older: Mutex<Vec<TransactionId>>,
}

impl Upload {
    /// No transaction open yet.
    pub fn new(drive: Arc<Drive>) -> Self {
        Self { drive, current: Mutex::new(None), older: Mutex::default() }
    }

    /// The open transaction, opened if there is none.
    ///
    /// # Errors
    /// [`crate::Error::Net`].
    pub fn transaction(&self) -> Result<TransactionId> {
        let mut current = self.current.lock();
        match &*current {
            Some(transaction) => Ok(transaction.clone()),
            None => Ok(current.insert(self.drive.node.start_transaction(&self.drive.owner)?).clone()),
        }
    }

    /// Ends the use of the open transaction for new blocks, and returns it. It stays open on the node.
    pub fn rotate(&self) -> Option<TransactionId> {
        self.current.lock().take()
    }

    /// Takes a transaction back whose blocks are not committed after all.
    pub fn restore(&self, transaction: TransactionId) {
        let mut current = self.current.lock();
        match &*current {
            None => *current = Some(transaction),
            Some(_) => self.older.lock().push(transaction),
        }
    }

    /// Closes a transaction whose blocks are committed, and all that were restored before.
    pub fn close(&self, transaction: &TransactionId) {
        self.close_one(transaction);
        for transaction in std::mem::take(&mut *self.older.lock()) {
            self.close_one(&transaction);
        }
    }

    /// A failure leaves the transaction to the node's clock.
    fn close_one(&self, transaction: &TransactionId) {
        if let Err(error) = self.drive.node.close_transaction(&self.drive.owner, transaction) {
            tracing::warn!(%error, "a transaction could not be closed");
        }
    }

    /// Stores fragments under the open transaction.
    ///
    /// # Errors
    /// [`crate::Error::Net`].
    pub fn fragments(&self, signer: &Signer, blocks: Vec<Block>) -> Result<()> {
        put(&self.drive, &self.transaction()?, signer, Codec::Raw, blocks, Priority::Ordinary)
    }
}

/// Signs blocks and stores them, in calls of bounded size.
///
/// # Errors
/// [`crate::Error::Net`].
pub fn put(
    drive: &Drive,
    transaction: &TransactionId,
    signer: &Signer,
    codec: Codec,
    blocks: Vec<Block>,
    priority: Priority,
) -> Result<()> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    let send = |batch: Vec<Block>| -> Result<()> {
        let size = batch.iter().map(|block| block.data().len()).sum();
        let signed = batch.into_par_iter().map(|block| block.sign(signer)).collect();
        let (node, owner, writer) = (&drive.node, &drive.owner, signer.hash());
        let put = match priority {
            Priority::Ordinary => node.put_blocks(owner, writer, transaction, codec, signed),
            Priority::Vital => node.put_vital_blocks(owner, writer, transaction, codec, signed),
        };
        put?;
        drive.count_uploaded(size);
        Ok(())
    };
    for block in blocks {
        if bytes + block.data().len() > BATCH && !batch.is_empty() {
            send(std::mem::take(&mut batch))?;
            bytes = 0;
        }
        bytes += block.data().len();
        batch.push(block);
    }
    if batch.is_empty() { Ok(()) } else { send(batch) }
}

/// What is known after changes were written.
pub enum Written {
    /// They are committed.
    Committed,
    /// The node did not answer, for this reason.
    Unanswered(Unanswered, Error),
}

/// Pointers that were sent, and nobody knows whether the node has set them.
pub struct Unanswered {
    pointers: Vec<PointerWrite>,
    /// The spaces as they are if it has.
    committed: Vec<(KeyHash, Option<Arc<Space>>)>,
}

impl Unanswered {
    /// Asks whether the pointers were set, which happens to all or none, and takes it over if they were. Others may have
    /// set them since; where that leaves no trace of ours, they count as not set.
    ///
    /// # Errors
    /// [`crate::Error::Net`] if there is no answer this time either.
    pub fn ask(&self, drive: &Drive) -> Result<bool> {
        for (pointer, (writer, ours)) in self.pointers.iter().zip(&self.committed) {
            let stored = drive.node.node().get_pointer(&drive.owner, writer)?;
            let is_set = stored.as_ref() == Some(&pointer.signed)
                || ours.as_ref().map_or(Ok(false), |ours| is_overtaken(drive, writer, ours))?;
            if is_set {
                drive.spaces.committed(self.committed.iter().cloned());
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether a space was in the state `ours` before others changed it: the update after it says so, and later ones leave
/// nodes of ours in place, which nobody else can have made.
fn is_overtaken(drive: &Drive, writer: &KeyHash, ours: &Space) -> Result<bool> {
    let Some(theirs) = drive.spaces.current(writer)? else { return Ok(false) };
    if theirs.pointer.sequence <= ours.pointer.sequence {
        return Ok(false);
    }
    if theirs.pointer.original == ours.pointer.updated {
        return Ok(true);
    }
    let (before, source) = (drive.spaces.get(writer)?, drive.node.of(&drive.owner));
    let trees = [&before.data.tree, &ours.data.tree, &theirs.data.tree].map(Option::as_ref);
    let mut left = HashSet::new();
    let ours_alone = champ::diff(&source, trees[0], trees[1], KeyHasher::Identity, &mut |key, _, new| {
        new.is_some().then(|| left.insert(key.to_vec()));
        Ok(())
    });
    let compared = ours_alone.and_then(|()| {
        champ::diff(&source, trees[1], trees[2], KeyHasher::Identity, &mut |key, _, _| {
            left.remove(key);
            Ok(())
        })
    });
    match compared.map_err(Error::from) {
        Err(error) if error.is_of_one_entry() => Ok(false),
        compared => compared.map(|()| !left.is_empty()),
    }
}

/// What writers' pointers are set to; none where a space is deleted.
pub type Targets = Vec<(KeyHash, Option<Cid>)>;

/// Writes changes: node blocks, CHAMPs, WriterData, then all pointers in one step, of which `announce` hears before.
///
/// # Errors
/// [`crate::Error::Net`], what `announce` returns; nothing has changed then but for blocks that nothing reaches.
pub fn write(
    drive: &Drive,
    transaction: &TransactionId,
    changes: Changes,
    priority: Priority,
    announce: &dyn Fn(Targets) -> Result<()>,
) -> Result<Written> {
    let mut pointers = Vec::new();
    let mut committed = Vec::new();
    let gone: Vec<KeyHash> =
        changes.spaces.values().flat_map(|space| &space.disowned).map(|signer| signer.hash().clone()).collect();
    for (writer, mut space) in changes.spaces {
        for deleted in std::mem::take(&mut space.disowned) {
            let current = match drive.spaces.get(deleted.hash()) {
                Ok(current) => current,
                Err(Error::SpaceGone(_)) => {
                    space.disowned.push(deleted);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let pointer = PointerUpdate::next(Some(&current.pointer), None);
            pointers.push(PointerWrite { writer: deleted.hash().clone(), signed: pointer.sign(&deleted) });
            committed.push((deleted.hash().clone(), None));
            space.disowned.push(deleted);
        }
        if gone.contains(&writer) {
            continue;
        }
        if let Some((new, pointer)) = write_space(drive, transaction, &writer, space, priority)? {
            committed.push((writer, Some(Arc::new(new))));
            pointers.push(pointer);
        }
    }
    if pointers.is_empty() {
        return Ok(Written::Committed);
    }
    let target = |space: &Option<Arc<Space>>| space.as_ref().and_then(|space| space.pointer.updated.clone());
    announce(committed.iter().map(|(writer, space)| (writer.clone(), target(space))).collect())?;
    let result = drive.node.set_pointers(&drive.owner, &pointers);
    let sent = Unanswered { pointers, committed };
    let Err(error) = result else {
        drive.spaces.committed(sent.committed);
        return Ok(Written::Committed);
    };
    // the reply may have been lost after the node had done it
    match sent.ask(drive) {
        Ok(true) => Ok(Written::Committed),
        Ok(false) => Err(error.into()),
        Err(_) => Ok(Written::Unanswered(sent, error.into())),
    }
}

/// Stores what changes in one space, and returns its new state and pointer; none if nothing changes.
fn write_space(
    drive: &Drive,
    transaction: &TransactionId,
    writer: &KeyHash,
    changes: SpaceChanges,
    priority: Priority,
) -> Result<Option<(Space, PointerWrite)>> {
    let space = drive.spaces.get(writer)?;
    let source = drive.node.of(&drive.owner);
    let mut blocks = changes.blocks;
    let mut data = space.data.clone();
    if let Some(root) = &data.tree {
        drive.node.fetch_paths(&drive.owner, root, changes.nodes.keys().map(|key| key.0))?;
    }
    let nodes = changes.nodes.into_iter().map(|(key, cid)| (key.0, cid.map(Value::Link)));
    let tree = champ::apply(&source, data.tree.as_ref(), nodes, KeyHasher::Identity, None)?;
    data.tree = Some(tree.root);
    blocks.extend(tree.blocks);
    if !changes.disowned.is_empty() {
        let hashes: Vec<_> = changes.disowned.iter().map(|signer| signer.hash().clone()).collect();
        let owned = owned::update(&source, data.owned.as_ref(), &[], &hashes)?;
        data.owned = Some(owned.root);
        blocks.extend(owned.blocks);
    }
    let block = data.block();
    if space.pointer.updated.as_ref() == Some(block.cid()) {
        return Ok(None);
    }
    let pointer = PointerUpdate::next(Some(&space.pointer), Some(block.cid().clone()));
    blocks.push(block);
    put(drive, transaction, &changes.signer, Codec::DagCbor, blocks, priority)?;
    let signed = pointer.sign(&changes.signer);
    Ok(Some((Space { pointer, data }, PointerWrite { writer: writer.clone(), signed })))
}

//! Operations on the encrypted tree: from a snapshot of the writing spaces to entries and contents, and from new states
//! of entries to the changes that a commit makes (spec 03 §6–§7). Nothing here knows of inodes or FUSE.

mod changes;
pub mod content;
mod entry;
mod keys;
mod write;

pub use changes::{Changes, SpaceChanges};
pub use entry::{DirChunk, Entry, Listing, chunk_children, list, load, load_children, resolve};
pub use keys::{Keys, LinkKeys};
pub use write::{Built, ChunkState, DirUpdate, FileUpdate, SealedChunk, Sink, seal_chunk, update_link};

use peergos_crypto::{bat::BatWithId, cid::Cid, signing::KeyHash};
use peergos_net::Verified;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use zeroize::Zeroizing;

use crate::{
    account::Account,
    cryptree::bulk::parts::Parts,
    space::{Space, Spaces},
};

/// The size of a file chunk in bytes (spec 03 §0).
pub const CHUNK: u64 = 5 << 20;

/// One owner's tree on a node: what all operations share.
pub struct Drive {
    /// The node, with everything it says verified.
    pub node: Arc<Verified>,
    /// The identity that owns the tree.
    pub owner: KeyHash,
    /// The mirror token whose id new blocks carry.
    pub mirror: Option<BatWithId>,
    /// The writing spaces.
    pub spaces: Spaces,
    /// What parts of fragments are verified with, where the node is in this process.
    pub parts: Arc<Parts>,
    /// How many bytes of blocks were put.
    uploaded: AtomicU64,
}

impl Drive {
    /// The tree of an account on `node`.
    pub fn new(node: Arc<Verified>, account: &Account) -> Self {
        let secret = Zeroizing::new(Zeroizing::new(account.identity.to_cbor()).encode());
        let owner = account.owner.clone();
        Self {
            spaces: Spaces::new(node.clone(), owner.clone()),
            node,
            owner,
            mirror: account.mirror_bat.clone(),
            parts: Arc::new(Parts::new(&secret)),
            uploaded: AtomicU64::default(),
        }
    }

    /// The same tree in another state of its writing spaces.
    pub fn at(&self, changed: &HashMap<KeyHash, Option<Arc<Space>>>) -> Self {
        self.with(self.node.clone(), self.spaces.with(changed), self.uploaded())
    }

    /// Counts bytes of blocks that were put.
    pub fn count_uploaded(&self, bytes: usize) {
        self.uploaded.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// How many bytes of blocks were put so far.
    pub fn uploaded(&self) -> u64 {
        self.uploaded.load(Ordering::Relaxed)
    }

    /// The same tree in the same state, read from `node`.
    pub fn on(&self, node: &Arc<Verified>) -> Self {
        self.with(node.clone(), self.spaces.on(node.clone()), 0)
    }

    fn with(&self, node: Arc<Verified>, spaces: Spaces, uploaded: u64) -> Self {
        let (owner, mirror, parts) = (self.owner.clone(), self.mirror.clone(), self.parts.clone());
        Self { node, owner, mirror, spaces, parts, uploaded: AtomicU64::new(uploaded) }
    }

    /// The mirror token's id, as blocks carry it.
    pub fn mirror_id(&self) -> Option<&Cid> {
        self.mirror.as_ref().map(|m| &m.id)
    }
}

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

use crate::space::{Space, Spaces};

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
    /// How many bytes of blocks were put.
    uploaded: AtomicU64,
}

impl Drive {
    /// The tree of `owner` on `node`.
    pub fn new(node: Arc<Verified>, owner: KeyHash, mirror: Option<BatWithId>) -> Self {
        Self { spaces: Spaces::new(node.clone(), owner.clone()), node, owner, mirror, uploaded: AtomicU64::default() }
    }

    /// The same tree in another state of its writing spaces.
    pub fn at(&self, changed: &HashMap<KeyHash, Option<Arc<Space>>>) -> Self {
        let (owner, mirror) = (self.owner.clone(), self.mirror.clone());
        let uploaded = AtomicU64::new(self.uploaded());
        Self { spaces: self.spaces.with(changed), node: self.node.clone(), owner, mirror, uploaded }
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
        Self {
            spaces: self.spaces.on(node.clone()),
            ..Self::new(node.clone(), self.owner.clone(), self.mirror.clone())
        }
    }

    /// The mirror token's id, as blocks carry it.
    pub fn mirror_id(&self) -> Option<&Cid> {
        self.mirror.as_ref().map(|m| &m.id)
    }
}

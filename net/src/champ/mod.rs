//! CHAMP: a compressed hash-array-mapped prefix tree, a persistent map from bytes to CBOR whose blocks depend only on
//! what is in it, not on how it came to be (spec 02 §10).
//!
//! A node has eight slots; a slot is empty, a bucket of at most four mappings, or a link to a child. Three bits of a
//! key's hash per level choose the slot. Which hash is used is not in the nodes: see [`KeyHasher`].

mod apply;
mod diff;
mod key;
mod node;
mod read;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use peergos_crypto::cid::Cid;

use crate::Result;

pub(crate) use apply::apply_below;
pub use apply::{Applied, apply, empty};
pub use diff::{Report, diff};
pub use key::{KeyHasher, KeyPath, MAX_DEPTH};
pub use node::{Entry, MAX_BUCKET, Node, SLOTS, Slot, Step};
pub(crate) use read::get_below;
pub use read::{for_each, get};

/// Where the nodes of a tree come from. Implementations check blocks against their CIDs, and cache.
pub trait NodeSource {
    /// The node that `cid` names.
    ///
    /// # Errors
    /// Whatever keeps it from being fetched, and as [`Node::decode`].
    fn node(&self, cid: &Cid) -> Result<Arc<Node>>;

    /// Several nodes, in the order asked for; implementations fetch in parallel where that helps.
    ///
    /// # Errors
    /// As [`NodeSource::node`].
    fn nodes(&self, cids: &[&Cid]) -> Result<Vec<Arc<Node>>> {
        cids.iter().map(|cid| self.node(cid)).collect()
    }
}

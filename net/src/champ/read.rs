//! Looking up and listing.

use std::sync::Arc;

use peergos_crypto::{cbor::Value, cid::Cid};

use super::{KeyHasher, MAX_DEPTH, Node, NodeSource, Step, diff};
use crate::{Error, Result};

/// The value of `key` in the tree under `root`, or none; a null value reads as none.
///
/// # Errors
/// Those of `source`, and [`Error::Invalid`] if the tree is too deep.
pub fn get(source: &dyn NodeSource, root: &Cid, key: &[u8], hasher: KeyHasher) -> Result<Option<Value>> {
    get_below(source, &*source.node(root)?, key, hasher)
}

/// As [`get`], for a tree whose root node is not a block of its own.
pub(crate) fn get_below(source: &dyn NodeSource, root: &Node, key: &[u8], hasher: KeyHasher) -> Result<Option<Value>> {
    let path = hasher.path(key);
    let mut below: Arc<Node>;
    let mut node = root;
    for depth in 0..MAX_DEPTH {
        match node.step(key, &path, depth) {
            Step::Absent => return Ok(None),
            Step::Value(value) => return Ok(Some(value.clone())),
            Step::Child(child) => below = source.node(child)?,
        }
        node = &below;
    }
    Err(Error::Invalid("CHAMP, which is too deep"))
}

/// Calls `visit` with every key and value under `root`, in no useful order.
///
/// # Errors
/// Those of `source` and `visit`, and as [`diff()`] for a tree that no honest writer produces.
pub fn for_each(
    source: &dyn NodeSource,
    root: &Cid,
    hasher: KeyHasher,
    visit: &mut dyn FnMut(&[u8], &Value) -> Result<()>,
) -> Result<()> {
    diff(source, None, Some(root), hasher, &mut |key, _, value| value.map_or(Ok(()), |value| visit(key, value)))
}

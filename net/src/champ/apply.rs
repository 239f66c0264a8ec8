//! Changing a tree: all changes at once, each new node serialised once.

use peergos_crypto::{cbor::Value, cid::Cid};

use super::{Entry, KeyHasher, KeyPath, MAX_BUCKET, MAX_DEPTH, Node, NodeSource, Slot};
use crate::{Block, Error, Result};

/// A changed tree.
#[derive(Debug, Clone)]
pub struct Applied {
    /// Its root.
    pub root: Cid,
    /// Its nodes that the old tree did not have, children before parents.
    pub blocks: Vec<Block>,
}

/// The empty tree.
pub fn empty() -> Block {
    Node::default().block()
}

/// Puts (some value) and removes (none) keys in the tree under `root`, none being an empty tree that is yet to be
/// stored. Of several changes of a key the last counts; null stands for none; removing what is absent is no error.
/// What changes nothing returns the same root and no blocks.
///
/// The result is canonical wherever it differs from the old tree. `mirror_bat` is the id of the mirror BAT for trees
/// whose root is in map form (secret links); a root that has BAT ids keeps them otherwise.
///
/// # Errors
/// Those of `source`, and [`Error::Invalid`] if a key in the old tree is where it does not belong, or if more than
/// four keys agree in the first 96 bits of their hashes.
pub fn apply<K: Into<Box<[u8]>>>(
    source: &dyn NodeSource,
    root: Option<&Cid>,
    changes: impl IntoIterator<Item = (K, Option<Value>)>,
    hasher: KeyHasher,
    mirror_bat: Option<&Cid>,
) -> Result<Applied> {
    let old = root.map(|root| source.node(root)).transpose()?;
    let (updated, mut blocks) = apply_below(source, old.as_deref().unwrap_or(&Node::default()), changes, hasher)?;
    let mut new = match (updated, root) {
        (None, Some(root)) => return Ok(Applied { root: root.clone(), blocks: Vec::new() }),
        (updated, _) => updated.unwrap_or_default(),
    };
    new.bats = mirror_bat.map(|id| vec![id.clone()]).or_else(|| old.and_then(|old| old.bats.clone()));
    let block = new.block();
    let root = block.cid().clone();
    blocks.push(block);
    Ok(Applied { root, blocks })
}

/// As [`apply`], for a tree whose root node `old` is not a block of its own: returns the new root, or none if nothing
/// changes, and the new blocks below it.
pub(crate) fn apply_below<K: Into<Box<[u8]>>>(
    source: &dyn NodeSource,
    old: &Node,
    changes: impl IntoIterator<Item = (K, Option<Value>)>,
    hasher: KeyHasher,
) -> Result<(Option<Node>, Vec<Block>)> {
    let changes = changes.into_iter().map(|(key, value)| {
        let key = key.into();
        Change { path: hasher.path(&key), key, value: value.filter(|value| *value != Value::Null) }
    });
    let mut changes: Vec<Change> = changes.collect();
    changes.sort_by(|a, b| a.path.cmp(&b.path).then_with(|| a.key.cmp(&b.key)));
    changes.dedup_by(|later, earlier| {
        let same = later.key == earlier.key;
        if same {
            std::mem::swap(later, earlier);
        }
        same
    });
    let mut edit = Edit { source, hasher, blocks: Vec::new() };
    let new = edit.node(old, &mut changes, 0)?;
    Ok((new, edit.blocks))
}

struct Change {
    path: KeyPath,
    key: Box<[u8]>,
    value: Option<Value>,
}

struct Edit<'a> {
    source: &'a dyn NodeSource,
    hasher: KeyHasher,
    blocks: Vec<Block>,
}

impl Edit<'_> {
    /// `node` with `changes`, which are in the order of their paths; none if they change nothing.
    fn node(&mut self, node: &Node, changes: &mut [Change], depth: usize) -> Result<Option<Node>> {
        if depth >= MAX_DEPTH {
            return Err(Error::Invalid("CHAMP: too many keys with the same hash"));
        }
        let together = |a: &Change, b: &Change| a.path.slot(depth) == b.path.slot(depth);
        let touched = changes.chunk_by(together).map(|group| &node.slots[group[0].path.slot(depth)]);
        let children: Vec<&Cid> = touched.filter_map(Slot::child).collect();
        let mut children = self.source.nodes(&children)?.into_iter();
        let mut updated: Option<Node> = None;
        for group in changes.chunk_by_mut(together) {
            let at = group[0].path.slot(depth);
            let slot = match &node.slots[at] {
                Slot::Child(_) => {
                    let child = children.next().expect("a source returns every node that was asked for");
                    self.node(&child, group, depth + 1)?.map(|child| self.link(child))
                }
                slot => self.bucket(slot.entries(), group, depth)?,
            };
            if let Some(slot) = slot {
                let updated = updated.get_or_insert_with(|| Node { slots: node.slots.clone(), bats: None });
                updated.slots[at] = slot;
            }
        }
        Ok(updated)
    }

    /// What takes the place of a bucket with `entries` in a node at `depth`; none if nothing changes.
    fn bucket(&mut self, entries: &[Entry], changes: &mut [Change], depth: usize) -> Result<Option<Slot>> {
        let mut changed = false;
        let mut all = Vec::with_capacity(entries.len() + changes.len());
        for Entry { key, value } in entries {
            let path = self.hasher.path(key);
            if !path.agrees(&changes[0].path, depth) {
                return Err(Error::Invalid("CHAMP, a key of which is misplaced"));
            }
            all.push(Change { path, key: key.clone(), value: Some(value.clone()) });
        }
        for change in changes {
            let (key, value) = (std::mem::take(&mut change.key), change.value.take());
            if let Some(at) = entries.iter().position(|entry| entry.key == key) {
                changed |= all[at].value != value;
                all[at].value = value;
            } else if value.is_some() {
                changed = true;
                all.push(Change { path: change.path, key, value });
            }
        }
        if !changed {
            return Ok(None);
        }
        all.retain(|change| change.value.is_some());
        if all.len() > MAX_BUCKET {
            all.sort_unstable_by_key(|change| change.path);
            let child = self.node(&Node::default(), &mut all, depth + 1)?.unwrap_or_default();
            return Ok(Some(self.link(child)));
        }
        let entries = all.into_iter().filter_map(|change| Some(Entry { key: change.key, value: change.value? }));
        Ok(Some(Slot::bucket(entries.collect())))
    }

    /// How a parent holds `child`: as a bucket if it is small, else as a link to its block.
    fn link(&mut self, child: Node) -> Slot {
        if child.is_small() {
            return Slot::bucket(child.slots.iter().flat_map(Slot::entries).cloned().collect());
        }
        let block = child.block();
        let cid = block.cid().clone();
        self.blocks.push(block);
        Slot::Child(cid)
    }
}

//! What changed between two trees (spec 02 §8.6), at a cost that grows with the change and not with the trees.

use std::{array, sync::Arc};

use peergos_crypto::{cbor::Value, cid::Cid};

use super::{Entry, KeyHasher, MAX_DEPTH, Node, NodeSource, SLOTS, Slot};
use crate::{Error, Result};

/// Takes a key, its old value and its new value.
pub type Report<'a> = dyn FnMut(&[u8], Option<&Value>, Option<&Value>) -> Result<()> + 'a;

/// Calls `report` with every key whose value differs between the trees under `old` and `new` (none: an empty tree),
/// its old value and its new value. The order of keys is of no use. A null value counts as none.
///
/// # Errors
/// Those of `source` and `report`, and [`Error::Invalid`] if a tree is too deep, or a key or an empty node is where it
/// does not belong.
pub fn diff(
    source: &dyn NodeSource,
    old: Option<&Cid>,
    new: Option<&Cid>,
    hasher: KeyHasher,
    report: &mut Report<'_>,
) -> Result<()> {
    if old == new {
        return Ok(());
    }
    let root = |cid: Option<&Cid>| cid.map_or_else(|| Ok(Arc::default()), |cid| source.node(cid));
    let (old, new): (Arc<Node>, Arc<Node>) = (root(old)?, root(new)?);
    Diff { source, hasher, report, path: Vec::new() }.nodes(&old.slots, &new.slots)
}

struct Diff<'a> {
    source: &'a dyn NodeSource,
    hasher: KeyHasher,
    report: &'a mut Report<'a>,
    /// The slots that lead to where we are.
    path: Vec<usize>,
}

impl Diff<'_> {
    fn nodes(&mut self, old: &[Slot; SLOTS], new: &[Slot; SLOTS]) -> Result<()> {
        if self.path.len() >= MAX_DEPTH {
            return Err(Error::Invalid("CHAMP, which is too deep"));
        }
        let differing = || (0..SLOTS).map(|i| (i, &old[i], &new[i])).filter(|(_, old, new)| old != new);
        let children: Vec<&Cid> = differing().flat_map(|(_, old, new)| [old, new]).filter_map(Slot::child).collect();
        let children = self.source.nodes(&children)?;
        // so that every way down ends at a key, which fits one way only: else nodes linked from many places could make
        // a small tree endless
        if children.iter().any(|child| child.slots.iter().all(|slot| *slot == Slot::Empty)) {
            return Err(Error::Invalid("CHAMP with an empty child"));
        }
        let mut children = children.into_iter();
        for (i, old, new) in differing() {
            self.path.push(i);
            if old.child().is_some() || new.child().is_some() {
                // a bucket opposite a child is compared with what is below the child
                let [old, new] = [old, new].map(|slot| match slot {
                    Slot::Child(_) => {
                        let child = children.next().expect("a source returns every node that was asked for");
                        child.slots.clone()
                    }
                    slot => self.spread(slot.entries()),
                });
                self.nodes(&old, &new)?;
            } else {
                self.buckets(old.entries(), new.entries())?;
            }
            self.path.pop();
        }
        Ok(())
    }

    /// The slots that `entries` would have in a node one level below their bucket.
    fn spread(&self, entries: &[Entry]) -> [Slot; SLOTS] {
        let depth = self.path.len();
        array::from_fn(|i| {
            let here = |entry: &&Entry| self.hasher.path(&entry.key).slot(depth) == i;
            Slot::bucket(entries.iter().filter(here).cloned().collect())
        })
    }

    fn buckets(&mut self, old: &[Entry], new: &[Entry]) -> Result<()> {
        fn value<'a>(bucket: &'a [Entry], key: &[u8]) -> Option<&'a Value> {
            bucket.iter().find(|entry| *entry.key == *key).and_then(Entry::live)
        }
        let added = new.iter().filter(|entry| old.iter().all(|other| other.key != entry.key));
        for Entry { key, .. } in old.iter().chain(added) {
            if !self.hasher.path(key).starts_with(&self.path) {
                return Err(Error::Invalid("CHAMP, a key of which is misplaced"));
            }
            let (old, new) = (value(old, key), value(new, key));
            if old != new {
                (self.report)(key, old, new)?;
            }
        }
        Ok(())
    }
}

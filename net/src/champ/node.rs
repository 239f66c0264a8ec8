//! One node and its block (spec 02 §10.2).

use std::sync::Arc;

use peergos_crypto::{
    bat,
    cbor::{Value, write_bytes, write_head},
    cid::{Cid, Codec},
};

use super::{KeyPath, MAX_DEPTH};
use crate::{Block, Error, Result};

/// The slots of a node.
pub const SLOTS: usize = 8;
/// The most mappings in a bucket.
pub const MAX_BUCKET: usize = 4;

const INVALID: Error = Error::Invalid("CHAMP node");

/// One mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Box<[u8]>,
    /// The value; [`Value::Null`] is a tombstone of old merges, and reads as absent.
    pub value: Value,
}

impl Entry {
    /// The value, unless it is a tombstone.
    pub(super) fn live(&self) -> Option<&Value> {
        Some(&self.value).filter(|value| **value != Value::Null)
    }
}

/// What is at one of a node's places. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Slot {
    /// Nothing.
    #[default]
    Empty,
    /// One to four mappings in order.
    Bucket(Arc<[Entry]>),
    /// A node with everything below, in canonical trees five mappings or more.
    Child(Cid),
}

impl Slot {
    /// A bucket of `entries`, at most [`MAX_BUCKET`] with different keys, or an empty slot.
    pub(super) fn bucket(mut entries: Vec<Entry>) -> Self {
        if entries.is_empty() {
            return Self::Empty;
        }
        entries.sort_unstable_by(|a, b| a.key.len().cmp(&b.key.len()).then_with(|| a.key.cmp(&b.key)));
        Self::Bucket(entries.into())
    }

    /// The mappings of a bucket; none for anything else.
    pub(super) fn entries(&self) -> &[Entry] {
        if let Self::Bucket(entries) = self { entries } else { &[] }
    }

    /// The child.
    pub(super) const fn child(&self) -> Option<&Cid> {
        if let Self::Child(cid) = self { Some(cid) } else { None }
    }
}

/// A decoded node. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// The places of what is in the node.
    pub slots: [Slot; SLOTS],
    /// The BAT ids of a root in map form (secret links).
    pub bats: Option<Vec<Cid>>,
}

/// Where the search for a key goes on from a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// The key is not in the tree.
    Absent,
    /// The key is here.
    Value(&'a Value),
    /// The key can only be in this child, one level deeper.
    Child(&'a Cid),
}

impl Node {
    /// Looks for `key`, whose path is `path`, in this node at `depth` (0 for the root).
    pub fn step(&self, key: &[u8], path: &KeyPath, depth: usize) -> Step<'_> {
        if depth >= MAX_DEPTH {
            return Step::Absent;
        }
        match &self.slots[path.slot(depth)] {
            Slot::Empty => Step::Absent,
            Slot::Bucket(bucket) => {
                let entry = bucket.iter().find(|entry| *entry.key == *key);
                entry.and_then(Entry::live).map_or(Step::Absent, Step::Value)
            }
            Slot::Child(cid) => Step::Child(cid),
        }
    }

    /// Reads a block.
    ///
    /// Whether keys are where their hashes belong is for those who know the hash function: [`super::for_each`],
    /// [`super::diff`] and [`super::apply`] check it.
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::Crypto`] for what no honest writer produces (§10.5).
    pub fn decode(block: &[u8]) -> Result<Self> {
        Self::from_cbor(Value::decode(block)?)
    }

    /// Reads a node that is part of a larger structure.
    ///
    /// # Errors
    /// As [`Node::decode`].
    pub fn from_cbor(value: Value) -> Result<Self> {
        let (plain, bats) = match value {
            Value::Map(mut map) => {
                let bats = bat::ids_from_cbor(map.require("bats", "CHAMP root")?)?;
                (map.remove("d").ok_or(INVALID)?, Some(bats))
            }
            plain => (plain, None),
        };
        let Value::Array(items) = plain else { return Err(INVALID) };
        let [data_map, node_map, Value::Array(contents)] = <[Value; 3]>::try_from(items).map_err(|_| INVALID)? else {
            return Err(INVALID);
        };
        let (data_map, node_map) = (bitmap(&data_map)?, bitmap(&node_map)?);
        if data_map & node_map != 0 || contents.len() != (data_map | node_map).count_ones() as usize {
            return Err(INVALID);
        }
        let mut contents = contents.into_iter();
        let mut slots: [Slot; SLOTS] = Default::default();
        for slot in places(data_map, &mut slots) {
            *slot = bucket(contents.next().ok_or(INVALID)?)?;
        }
        for slot in places(node_map, &mut slots).rev() {
            let Some(Value::Link(child)) = contents.next() else { return Err(INVALID) };
            *slot = Slot::Child(child);
        }
        Ok(Self { slots, bats })
    }

    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        match &self.bats {
            None => self.encode_plain(&mut out),
            Some(bats) => {
                write_head(5, 2, &mut out);
                write_text("d", &mut out);
                self.encode_plain(&mut out);
                write_text("bats", &mut out);
                bat::ids_to_cbor(bats).encode_to(&mut out);
            }
        }
        out
    }

    /// The block.
    pub fn block(&self) -> Block {
        Block::new(Codec::DagCbor, self.encode())
    }

    /// Whether a parent holds this node's mappings in a bucket of its own: no child, and few mappings, tombstones
    /// included.
    pub(super) fn is_small(&self) -> bool {
        let mappings: usize = self.slots.iter().map(|slot| slot.entries().len()).sum();
        mappings <= MAX_BUCKET && self.slots.iter().all(|slot| slot.child().is_none())
    }

    fn encode_plain(&self, out: &mut Vec<u8>) {
        let (mut data_map, mut node_map) = (0u8, 0u8);
        for (i, slot) in self.slots.iter().enumerate() {
            match slot {
                Slot::Empty => {}
                Slot::Bucket(_) => data_map |= 1 << i,
                Slot::Child(_) => node_map |= 1 << i,
            }
        }
        write_head(4, 3, out);
        for map in [data_map, node_map] {
            write_bytes(if map == 0 { &[] } else { std::slice::from_ref(&map) }, out);
        }
        write_head(4, (data_map | node_map).count_ones().into(), out);
        for slot in &self.slots {
            if let Slot::Bucket(bucket) = slot {
                write_head(4, 2 * bucket.len() as u64, out);
                for entry in bucket.iter() {
                    write_bytes(&entry.key, out);
                    entry.value.encode_to(out);
                }
            }
        }
        for slot in self.slots.iter().rev() {
            if let Slot::Child(child) = slot {
                Value::from(child).encode_to(out);
            }
        }
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    write_head(3, text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

/// The slots whose bit is set in `map`, in ascending order.
fn places(map: u8, slots: &mut [Slot; SLOTS]) -> impl DoubleEndedIterator<Item = &mut Slot> {
    slots.iter_mut().enumerate().filter(move |(i, _)| map & 1 << i != 0).map(|(_, slot)| slot)
}

/// A bit set without trailing zero bytes; eight slots fit one byte.
fn bitmap(value: &Value) -> Result<u8> {
    match value.as_bytes("CHAMP bitmap")? {
        [] => Ok(0),
        [bits] if *bits != 0 => Ok(*bits),
        _ => Err(INVALID),
    }
}

/// A bucket; very old ones may be out of order.
fn bucket(value: Value) -> Result<Slot> {
    let Value::Array(pairs) = value else { return Err(INVALID) };
    if pairs.is_empty() || !pairs.len().is_multiple_of(2) || pairs.len() > 2 * MAX_BUCKET {
        return Err(INVALID);
    }
    let mut entries = Vec::with_capacity(MAX_BUCKET);
    let mut pairs = pairs.into_iter();
    while let (Some(key), Some(value)) = (pairs.next(), pairs.next()) {
        let Value::Bytes(key) = key else { return Err(INVALID) };
        entries.push(Entry { key: key.into(), value });
    }
    let bucket = Slot::bucket(entries);
    let duplicate = bucket.entries().windows(2).any(|pair| pair[0].key == pair[1].key);
    if duplicate { Err(INVALID) } else { Ok(bucket) }
}

//! The hash tree over a file's plaintext chunks, kept in its properties so that two copies can be compared without
//! reading them (spec 01 §2.1, 03 §4.5).

use sha2::{Digest, Sha256};

use crate::{
    Error, Result,
    cbor::{Map, Value},
    cbor_map,
};

/// A SHA-256 hash: of a plaintext chunk, or of a list one level down.
pub type Hash = [u8; 32];

/// How many hashes a list holds at most.
pub const FAN_OUT: usize = 1024;

/// How many levels of lists there are at most.
const MAX_LEVELS: usize = 3;

/// One to 1024 hashes: `{"h": concatenated hashes}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashList(Vec<Hash>);

impl HashList {
    fn new(hashes: &[Hash]) -> Self {
        Self(hashes.to_vec())
    }

    /// The hashes, in the order of what they hash.
    pub fn hashes(&self) -> &[Hash] {
        &self.0
    }

    fn hash(&self) -> Hash {
        Sha256::digest(self.to_cbor().encode()).into()
    }

    /// The structure `{"h": bstr}`.
    pub fn to_cbor(&self) -> Value {
        cbor_map! { "h" => self.0.as_flattened() }
    }

    /// Reads the structure `{"h": bstr}`.
    ///
    /// # Errors
    /// [`Error::Structure`], also for an empty or overlong list.
    pub fn from_cbor(value: &Value) -> Result<Self> {
        let bytes = value.as_map("hash list")?.require("h", "hash list")?.as_bytes("hash list")?;
        match bytes.as_chunks() {
            (hashes @ [_, ..], []) if hashes.len() <= FAN_OUT => Ok(Self::new(hashes)),
            _ => Err(Error::Structure("hash list")),
        }
    }
}

/// The root over the single list of the top level.
fn root_of(top: &HashList) -> Hash {
    Sha256::digest(Value::Array(vec![top.to_cbor()]).encode()).into()
}

fn root_to_cbor(root: &Hash) -> Value {
    cbor_map! { "h" => *root }
}

fn root_from_cbor(map: &Map) -> Result<Hash> {
    let root = map.require("r", "hash tree root")?.as_map("hash tree root")?;
    root.require("h", "hash tree root")?.as_array_of("hash tree root")
}

/// The whole tree of a file. Only upload transactions store it; properties hold a [`HashBranch`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashTree {
    root: Hash,
    /// The lists of each level that exists, chunk hashes first; the last level has one list.
    levels: Vec<Vec<HashList>>,
}

impl HashTree {
    /// The tree over the hashes of a file's chunks, in order. An empty file has one chunk of no bytes.
    ///
    /// # Errors
    /// [`Error::Structure`] if there are no chunks, or more than 2³⁰.
    pub fn from_chunk_hashes(chunks: &[Hash]) -> Result<Self> {
        let group = |hashes: &[Hash]| hashes.chunks(FAN_OUT).map(HashList::new).collect::<Vec<_>>();
        let mut levels = vec![group(chunks)];
        loop {
            match levels.last().map(Vec::as_slice) {
                Some([top]) => return Ok(Self { root: root_of(top), levels }),
                Some(lists @ [_, ..]) if levels.len() < MAX_LEVELS => {
                    let hashes: Vec<Hash> = lists.iter().map(HashList::hash).collect();
                    levels.push(group(&hashes));
                }
                _ => return Err(Error::Structure("hash tree size")),
            }
        }
    }

    /// The root: equal if and only if the contents are.
    pub const fn root(&self) -> &Hash {
        &self.root
    }

    /// The part above chunk number `chunk`. Chunks 0, 1024, 2048 … hold theirs in their properties, the others none.
    pub fn branch(&self, chunk: u64) -> HashBranch {
        let list = |level: usize| {
            let index = usize::try_from(chunk >> (10 * (level + 1))).ok()?;
            self.levels.get(level)?.get(index).cloned()
        };
        HashBranch { root: self.root, lists: [list(0), list(1), list(2)] }
    }

    /// The structure `{"r", "ll1", "ll2", "ll3"}`.
    pub fn to_cbor(&self) -> Value {
        let level = |i: usize| {
            let lists = self.levels.get(i).map_or(&[][..], Vec::as_slice);
            Value::Array(lists.iter().map(HashList::to_cbor).collect())
        };
        cbor_map! { "r" => root_to_cbor(&self.root), "ll1" => level(0), "ll2" => level(1), "ll3" => level(2) }
    }

    /// Reads the structure `{"r", "ll1", "ll2", "ll3"}`. Whether the hashes agree with each other is not checked.
    ///
    /// # Errors
    /// [`Error::Structure`], also if no level or one below an existing one is empty.
    pub fn from_cbor(value: &Value) -> Result<Self> {
        let map = value.as_map("hash tree")?;
        let mut levels = Vec::new();
        for key in ["ll1", "ll2", "ll3"] {
            let lists = map.require(key, "hash tree level")?.as_array("hash tree level")?;
            levels.push(lists.iter().map(HashList::from_cbor).collect::<Result<Vec<_>>>()?);
        }
        let height = levels.iter().take_while(|level| !level.is_empty()).count();
        if height == 0 || levels.drain(height..).any(|level| !level.is_empty()) {
            return Err(Error::Structure("hash tree level"));
        }
        Ok(Self { root: root_from_cbor(map)?, levels })
    }
}

/// The root of a tree, and the lists on the way from it to a group of 1024 chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashBranch {
    root: Hash,
    lists: [Option<HashList>; MAX_LEVELS],
}

const LIST_KEYS: [&str; MAX_LEVELS] = ["l1", "l2", "l3"];

impl HashBranch {
    /// The root: equal if and only if the contents are.
    pub const fn root(&self) -> &Hash {
        &self.root
    }

    /// The hashes of the up to 1024 chunks below this branch: all of the file, if it has no more.
    pub fn chunk_hashes(&self) -> Option<&[Hash]> {
        self.lists[0].as_ref().map(HashList::hashes)
    }

    /// Replaces the hash of chunk number `chunk`, counted from the start of the file, which must be below this branch,
    /// and every hash above it.
    ///
    /// # Errors
    /// [`Error::Structure`] if there is no such chunk, or the lists do not fit together; the branch is then as it was.
    pub fn replace(&mut self, chunk: u64, hash: Hash) -> Result<()> {
        const UNFIT: Error = Error::Structure("hash branch");
        let mut changed = self.clone();
        let (mut index, mut before, mut after) = (chunk, None, hash);
        for list in changed.lists.iter_mut().map_while(Option::as_mut) {
            let old = list.hash();
            let slot = list.0.get_mut((index % FAN_OUT as u64) as usize).ok_or(UNFIT)?;
            if before.is_some_and(|before| before != *slot) {
                return Err(UNFIT);
            }
            *slot = after;
            changed.root = root_of(list);
            (index, before, after) = (index / FAN_OUT as u64, Some(old), list.hash());
        }
        if before.is_none() || index != 0 {
            return Err(UNFIT);
        }
        *self = changed;
        Ok(())
    }

    /// The structure `{"r", ? "l1", ? "l2", ? "l3"}`.
    pub fn to_cbor(&self) -> Value {
        let mut map = Map::new();
        map.insert("r", root_to_cbor(&self.root));
        for (key, list) in LIST_KEYS.iter().zip(&self.lists) {
            map.insert_some(key, list.as_ref().map(HashList::to_cbor));
        }
        Value::Map(map)
    }

    /// Reads the structure `{"r", ? "l1", ? "l2", ? "l3"}`. Whether the hashes agree with each other is not checked.
    ///
    /// # Errors
    /// [`Error::Structure`], also for a list without those below it.
    pub fn from_cbor(value: &Value) -> Result<Self> {
        let map = value.as_map("hash branch")?;
        let list = |key| map.get(key).map(HashList::from_cbor).transpose();
        let lists = [list("l1")?, list("l2")?, list("l3")?];
        if !lists.is_sorted_by_key(Option::is_none) {
            return Err(Error::Structure("hash branch level"));
        }
        Ok(Self { root: root_from_cbor(map)?, lists })
    }
}

//! From the new state of an entry to the nodes and fragments that hold it (spec 03 §7).

use std::{borrow::Cow, collections::BTreeMap, ops::Deref, sync::Arc, time::Duration};

use peergos_crypto::{hash_tree::HashTree, symmetric::CipherText};
use peergos_net::Block;

use crate::{
    Error, Result,
    capability::{ChildLink, RelativeCapability},
    cryptree::{
        Bulk, FromBase, FromParent, Node, Properties,
        bulk::{self, Payload},
        children, seal_signer,
    },
    space::{Location, Signer},
    tree::{CHUNK, Changes, DirChunk, Drive, Keys, LinkKeys, content},
    uptime::uptime,
};

/// How many chunks one list of the hash tree covers; the first chunk of each such run carries a branch of it.
const HASH_GROUP: u64 = 1024;

/// Takes fragment blocks of one signer to the node as soon as they are made, so that memory stays bounded.
pub type Sink<'a> = &'a (dyn Fn(&Signer, Vec<Block>) -> Result<()> + Sync);

/// A chunk that has been encrypted and whose fragments are with the node.
#[derive(Debug)]
pub struct SealedChunk {
    /// The ciphertext and what opens it.
    pub open: Arc<content::OpenChunk>,
    /// SHA-256 of the plaintext: a leaf of the file's hash tree.
    pub leaf: [u8; 32],
    /// Length of the plaintext in bytes.
    pub len: u64,
    /// The machine's uptime when its fragments began to be stored.
    since: Duration,
}

impl SealedChunk {
    /// For how long its fragments have been with the node, at most.
    pub fn age(&self) -> Duration {
        uptime() - self.since
    }
}

/// The new content of a chunk.
#[derive(Debug, Clone)]
pub enum ChunkState<B> {
    /// Plaintext; what the chunk has beyond it is zeros.
    Plain(B),
    /// Already encrypted.
    Sealed(Arc<SealedChunk>),
    /// Zeros.
    Hole,
}

/// A new state of a file.
pub struct FileUpdate<B> {
    /// The file's keys.
    pub keys: Arc<Keys>,
    /// All its properties; the hash tree is filled in here.
    pub properties: Properties,
    /// The link to its parent, or to its link node.
    pub parent: Option<RelativeCapability>,
    /// The chunks that change, by number; none if only properties do.
    pub chunks: BTreeMap<u64, ChunkState<B>>,
    /// Where all chunks are.
    pub locations: content::Locations,
    /// How many chunks are stored now: zero for a new file.
    pub stored: u64,
    /// Whether size or content changes, and with them the hash tree.
    pub content_changed: bool,
    /// SHA-256 of each stored chunk, if they are known.
    pub leaves: Option<Arc<Vec<[u8; 32]>>>,
}

/// What became of a [`FileUpdate`].
pub struct Built {
    /// The nodes to store and to remove.
    pub changes: Changes,
    /// How many chunks the file then has.
    pub chunks: u64,
    /// SHA-256 of each chunk, where that is known.
    pub leaves: Option<Arc<Vec<[u8; 32]>>>,
    /// The chunks that changed, as they can be read again.
    pub sealed: BTreeMap<u64, Arc<content::OpenChunk>>,
}

/// A new state of a directory.
pub struct DirUpdate {
    /// The directory's keys.
    pub keys: Arc<Keys>,
    /// All its properties.
    pub properties: Properties,
    /// The link to its parent, or to its link node; none for a home directory.
    pub parent: Option<RelativeCapability>,
    /// The chunks that change: number, place and children.
    pub chunks: Vec<(usize, DirChunk, Vec<Arc<ChildLink>>)>,
}

/// Encrypts one chunk and hands its fragments to `sink`.
///
/// # Errors
/// [`Error::Crypto`] without randomness, and what `sink` returns.
pub fn seal_chunk(drive: &Drive, keys: &Keys, plain: &[u8], len: u64, sink: Sink<'_>) -> Result<SealedChunk> {
    let len_here = usize::try_from(len).map_err(|_| Error::Damaged("a chunk of impossible size"))?;
    let plain = if plain.len() >= len_here {
        Cow::Borrowed(&plain[..len_here])
    } else {
        let mut extended = Vec::with_capacity(len_here);
        extended.extend_from_slice(plain);
        extended.resize(len_here, 0);
        Cow::Owned(extended)
    };
    let since = uptime();
    let parts = drive.node.node().keeps_beside().then_some(&*drive.parts);
    let (data, fragments, leaf) = bulk::seal_content(&keys.data_key, &plain, drive.mirror_id(), parts)?;
    if !fragments.is_empty() {
        sink(keys.signer()?, fragments)?;
    }
    let open = Arc::new(content::OpenChunk { data, key: keys.data_key.clone() });
    Ok(SealedChunk { open, leaf, len, since })
}

impl<B: Deref<Target: AsRef<[u8]>>> FileUpdate<B> {
    /// Builds the changed nodes.
    ///
    /// # Errors
    /// [`Error::Damaged`] if a stored node that must be kept is gone; [`Error::Crypto`], [`Error::Net`].
    pub fn build(mut self, drive: &Drive, sink: Sink<'_>) -> Result<Built> {
        let mut changes = Changes::default();
        let signer = self.keys.signer()?.clone();
        let chunk_count = self.properties.size.div_ceil(CHUNK).max(1);
        let mut sealed = BTreeMap::new();
        for (index, state) in std::mem::take(&mut self.chunks) {
            if index >= chunk_count {
                continue;
            }
            let len = (self.properties.size - index * CHUNK).min(CHUNK);
            let chunk = match state {
                ChunkState::Sealed(chunk) if chunk.len == len => chunk,
                ChunkState::Sealed(_) => return Err(Error::Damaged("a chunk was cut after it was encrypted")),
                ChunkState::Plain(plain) => Arc::new(seal_chunk(drive, &self.keys, (*plain).as_ref(), len, sink)?),
                ChunkState::Hole => Arc::new(seal_chunk(drive, &self.keys, &[], len, sink)?),
            };
            sealed.insert(index, chunk);
        }
        let leaves =
            if self.content_changed { self.new_leaves(drive, chunk_count, &sealed)? } else { self.leaves.clone() };
        let tree = match &leaves {
            Some(leaves) if self.content_changed => Some(HashTree::from_chunk_hashes(leaves)?),
            _ => None,
        };
        for (&index, chunk) in &sealed {
            let properties = self.chunk_properties(index, tree.as_ref());
            let block = self.chunk_node(drive, index, properties, chunk.open.data.clone())?;
            changes.put(&signer, self.locations.get(drive, &self.keys, index)?.0, block);
        }
        // chunk 0 speaks for the file, and every thousandth carries a branch of the hash tree
        let step = if self.content_changed { HASH_GROUP } else { u64::MAX };
        let mut index = 0;
        while index < chunk_count {
            if !sealed.contains_key(&index) {
                let location = self.locations.get(drive, &self.keys, index)?;
                let properties = self.chunk_properties(index, tree.as_ref());
                let block = self.stored_node(drive, location.clone(), index, properties)?;
                changes.put(&signer, location.0, block);
            }
            index = index.saturating_add(step);
        }
        for index in chunk_count..self.stored {
            changes.remove(&signer, self.locations.get(drive, &self.keys, index)?.0);
        }
        let sealed = sealed.into_iter().map(|(index, chunk)| (index, chunk.open.clone())).collect();
        Ok(Built { changes, chunks: chunk_count, leaves, sealed })
    }

    /// The properties that the node of chunk `index` carries.
    fn chunk_properties(&self, index: u64, tree: Option<&HashTree>) -> Properties {
        let mut properties = self.properties.clone();
        if self.content_changed {
            properties.tree_hash = tree.filter(|_| index.is_multiple_of(HASH_GROUP)).map(|tree| tree.branch(index));
        }
        if index > 0 {
            properties.thumbnail = None;
        }
        properties
    }

    fn chunk_node(&mut self, drive: &Drive, index: u64, properties: Properties, data: Bulk) -> Result<Block> {
        let (map_key, bat) = self.locations.get(drive, &self.keys, index)?;
        let next = self.locations.get(drive, &self.keys, index + 1)?;
        let cap = self.keys.cap.at(map_key, bat);
        let from_base = FromBase {
            key: self.keys.data_key.clone(),
            next: next_link(&self.keys, next),
            signer: (index == 0 && self.keys.own_space).then(|| signer_link(&self.keys)).transpose()?,
        };
        let from_parent = FromParent { parent: self.parent.clone(), properties };
        Ok(Node::seal(&cap, drive.mirror_id(), &from_base, &cap.read, &from_parent, data)?.to_block())
    }

    /// The stored node of chunk `index` with new properties; what is only stored, not remembered, is kept.
    fn stored_node(&self, drive: &Drive, location: Location, index: u64, mut properties: Properties) -> Result<Block> {
        let cap = self.keys.cap.at(location.0, location.1);
        let stored = drive.spaces.node(&cap)?.ok_or(Error::Damaged("a file lacks a chunk"))?;
        let old = stored.node.open(&cap.read)?;
        if !self.content_changed {
            properties.thumbnail = old.properties.thumbnail;
            properties.tree_hash = old.properties.tree_hash;
        }
        let parent = if index == 0 { self.parent.clone() } else { old.parent };
        Ok(stored.node.with_from_parent(&cap.read, &FromParent { parent, properties })?.to_block())
    }

    /// The leaves of all chunks, from those stored and those that change; none if a stored one is not known.
    fn new_leaves(
        &mut self,
        drive: &Drive,
        chunk_count: u64,
        sealed: &BTreeMap<u64, Arc<SealedChunk>>,
    ) -> Result<Option<Arc<Vec<[u8; 32]>>>> {
        let kept = self.stored.min(chunk_count);
        let all_changed = (0..kept).all(|index| sealed.contains_key(&index));
        let known = match self.leaves.take() {
            Some(leaves) => Some(leaves),
            None if all_changed => Some(Arc::default()),
            None => self.stored_leaves(drive)?.map(Arc::new),
        };
        let Some(mut leaves) = known else { return Ok(None) };
        let all = Arc::make_mut(&mut leaves);
        let count = usize::try_from(chunk_count).map_err(|_| Error::Damaged("a file of impossible size"))?;
        all.resize(count, [0; 32]);
        for (&index, chunk) in sealed {
            all[index as usize] = chunk.leaf;
        }
        Ok(Some(leaves))
    }

    /// The leaves in the stored hash tree, if it is whole.
    fn stored_leaves(&mut self, drive: &Drive) -> Result<Option<Vec<[u8; 32]>>> {
        let mut leaves = Vec::new();
        for first in (0..self.stored).step_by(HASH_GROUP as usize) {
            let location = self.locations.get(drive, &self.keys, first)?;
            let cap = self.keys.cap.at(location.0, location.1);
            let Some(stored) = drive.spaces.node(&cap)? else { return Ok(None) };
            let Some(branch) = stored.node.open(&cap.read)?.properties.tree_hash else { return Ok(None) };
            leaves.extend_from_slice(branch.chunk_hashes().unwrap_or_default());
        }
        Ok((leaves.len() as u64 == self.stored).then_some(leaves))
    }
}

impl DirUpdate {
    /// Builds the changed nodes.
    ///
    /// # Errors
    /// [`Error::Damaged`] if a stored node that must be kept is gone; [`Error::Crypto`], [`Error::Net`].
    pub fn build(self, drive: &Drive, sink: Sink<'_>) -> Result<Changes> {
        let mut changes = Changes::default();
        let signer = self.keys.signer()?.clone();
        let keys = &self.keys;
        let mut first_done = false;
        for (index, place, links) in &self.chunks {
            let is_first = *index == 0;
            first_done |= is_first;
            let cap = keys.cap.at(place.location.0, place.location.1.clone());
            let list = children::encode(links.iter().map(Arc::as_ref))?;
            let (data, fragments) = bulk::seal(&cap.read, Payload::Item(&list), drive.mirror_id())?;
            if !fragments.is_empty() {
                sink(&signer, fragments)?;
            }
            let from_base = FromBase {
                key: keys.parent_key.clone(),
                next: next_link(keys, place.next.clone()),
                signer: (is_first && keys.own_space).then(|| signer_link(keys)).transpose()?,
            };
            let properties = if is_first { self.properties.clone() } else { Properties::later_directory_chunk() };
            let from_parent = FromParent { parent: self.parent.clone(), properties };
            let node = Node::seal(&cap, drive.mirror_id(), &from_base, &keys.parent_key, &from_parent, data)?;
            changes.put(&signer, cap.map_key, node.to_block());
        }
        if !first_done {
            let stored = drive.spaces.node(&keys.cap)?.ok_or(Error::Damaged("a directory lacks its first chunk"))?;
            let from_parent = FromParent { parent: self.parent, properties: self.properties };
            let node = stored.node.with_from_parent(&keys.parent_key, &from_parent)?;
            changes.put(&signer, keys.cap.map_key, node.to_block());
        }
        Ok(changes)
    }
}

/// Renames a link node or moves it to another directory of its space.
///
/// # Errors
/// [`Error::ReadOnly`], [`Error::Dangling`], [`Error::Crypto`], [`Error::Net`].
pub fn update_link(drive: &Drive, link: &LinkKeys, name: &str, parent: RelativeCapability) -> Result<Changes> {
    let signer = link.signer.as_ref().ok_or(Error::ReadOnly)?;
    let stored = drive.spaces.node(&link.cap)?.ok_or(Error::Dangling)?;
    let mut properties = stored.node.open(&link.cap.read)?.properties;
    properties.name = name.to_owned();
    let from_parent = FromParent { parent: Some(parent), properties };
    let node = stored.node.with_from_parent(&link.parent_key, &from_parent)?;
    let mut changes = Changes::default();
    changes.put(signer, link.cap.map_key, node.to_block());
    Ok(changes)
}

fn next_link(keys: &Keys, next: Location) -> RelativeCapability {
    RelativeCapability { writer: None, map_key: next.0, bat: next.1, read: keys.cap.read.clone(), write: None }
}

fn signer_link(keys: &Keys) -> Result<CipherText> {
    let write = keys.cap.write.as_ref().ok_or(Error::ReadOnly)?;
    Ok(seal_signer(keys.signer()?, write)?)
}

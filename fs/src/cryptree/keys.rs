//! What all chunks of one entry share, and the nodes that follow from it (spec 03 §7.3, §7.4).

use peergos_crypto::{
    Result,
    bat::Bat,
    cid::Cid,
    signing::KeyHash,
    symmetric::{CipherText, SymmetricKey},
};
use peergos_net::Block;

use super::{
    Bulk, FromBase, FromParent, Node, Opened, Properties,
    bulk::{self, Payload},
    children,
};
use crate::capability::{Capability, ChildLink, MapKey, RelativeCapability, StreamSecret};

/// A directory, new or opened, as its chunks are written.
#[derive(Debug, Clone)]
pub struct DirectoryKeys {
    /// The capability of the first chunk.
    pub cap: Capability,
    /// The key of the properties, which children hold to find their parent's name.
    pub parent_key: SymmetricKey,
}

impl DirectoryKeys {
    /// Draws place, token and all keys of a directory that does not exist yet.
    ///
    /// # Errors
    /// [`peergos_crypto::Error::Randomness`].
    pub fn generate(owner: &KeyHash, writer: &KeyHash) -> Result<Self> {
        Ok(Self { cap: Capability::generate(owner, writer)?, parent_key: SymmetricKey::generate()? })
    }

    /// The keys of the directory whose first chunk is at `cap`.
    pub fn of(cap: &Capability, first: &Opened) -> Self {
        Self { cap: cap.clone(), parent_key: first.parent_key.clone() }
    }

    /// The link to this directory that goes into the first chunks of its children, in the space of `child_writer`.
    pub fn parent_link(&self, child_writer: &KeyHash) -> RelativeCapability {
        RelativeCapability {
            writer: (self.cap.writer != *child_writer).then(|| self.cap.writer.clone()),
            map_key: self.cap.map_key,
            bat: self.cap.bat.clone(),
            read: self.parent_key.clone(),
            write: None,
        }
    }

    /// The first chunk. `signer` is that of the writing space that starts here, if one does.
    ///
    /// # Errors
    /// As [`Node::seal`] and [`children::encode`].
    pub fn first_node(
        &self,
        from_parent: &FromParent,
        children: &[ChildLink],
        signer: Option<CipherText>,
        mirror: Option<&Cid>,
    ) -> Result<(Node, Vec<Block>)> {
        self.node(&self.cap, from_parent, children, signer, mirror)
    }

    /// A further chunk, at the place that the chunk before it keeps for its `next`, with the same parent link as that.
    ///
    /// # Errors
    /// As [`Node::seal`] and [`children::encode`].
    pub fn later_node(
        &self,
        place: &RelativeCapability,
        parent: Option<RelativeCapability>,
        children: &[ChildLink],
        mirror: Option<&Cid>,
    ) -> Result<(Node, Vec<Block>)> {
        let from_parent = FromParent { parent, properties: Properties::later_directory_chunk() };
        let at = self.cap.at(place.map_key, place.bat.clone());
        self.node(&at, &from_parent, children, None, mirror)
    }

    fn node(
        &self,
        at: &Capability,
        from_parent: &FromParent,
        children: &[ChildLink],
        signer: Option<CipherText>,
        mirror: Option<&Cid>,
    ) -> Result<(Node, Vec<Block>)> {
        let next = next_link(at, MapKey::generate()?, Some(Bat::generate()?));
        let from_base = FromBase { key: self.parent_key.clone(), next, signer };
        let list = children::encode(children)?;
        let (data, fragments) = bulk::seal(&at.read, Payload::Item(&list), mirror)?;
        Ok((Node::seal(at, mirror, &from_base, &self.parent_key, from_parent, data)?, fragments))
    }
}

/// A file, new or opened, as its chunks are written.
#[derive(Debug, Clone)]
pub struct FileKeys {
    /// The capability of the first chunk.
    pub cap: Capability,
    /// The key of the content.
    pub data_key: SymmetricKey,
    /// Where the later chunks are.
    pub stream_secret: StreamSecret,
}

impl FileKeys {
    /// Draws place, token and all keys of a file that does not exist yet.
    ///
    /// # Errors
    /// [`peergos_crypto::Error::Randomness`].
    pub fn generate(owner: &KeyHash, writer: &KeyHash) -> Result<Self> {
        Ok(Self {
            cap: Capability::generate(owner, writer)?,
            data_key: SymmetricKey::generate()?,
            stream_secret: StreamSecret::generate()?,
        })
    }

    /// The keys of the file whose first chunk is at `cap`; none for a legacy file, whose chunks are linked instead.
    pub fn of(cap: &Capability, first: &Opened) -> Option<Self> {
        let stream_secret = first.properties.stream_secret.clone()?;
        Some(Self { cap: cap.clone(), data_key: first.data_key.clone(), stream_secret })
    }

    /// The capability of a chunk, counted from 0.
    pub fn chunk(&self, index: u64) -> Capability {
        self.stream_secret.chunk_after(&self.cap, index)
    }

    /// Encrypts the content of a chunk.
    ///
    /// # Errors
    /// As [`bulk::seal`].
    pub fn seal(&self, content: &[u8], mirror: Option<&Cid>) -> Result<(Bulk, Vec<Block>)> {
        bulk::seal(&self.data_key, Payload::Bytes(content), mirror)
    }

    /// The node of a chunk at `chunk`. `signer` is that of the writing space that starts here, on a first chunk where
    /// one does.
    ///
    /// # Errors
    /// As [`Node::seal`].
    pub fn node(
        &self,
        chunk: &Capability,
        from_parent: &FromParent,
        data: Bulk,
        signer: Option<CipherText>,
        mirror: Option<&Cid>,
    ) -> Result<Node> {
        let (map_key, bat) = self.stream_secret.next_chunk(chunk.map_key, chunk.bat.as_ref());
        let from_base = FromBase { key: self.data_key.clone(), next: next_link(chunk, map_key, bat), signer };
        Node::seal(chunk, mirror, &from_base, &chunk.read, from_parent, data)
    }
}

fn next_link(chunk: &Capability, map_key: MapKey, bat: Option<Bat>) -> RelativeCapability {
    RelativeCapability { writer: None, map_key, bat, read: chunk.read.clone(), write: None }
}

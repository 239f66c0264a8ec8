//! The keys that new entries get (spec 03 §7.3, §7.4).

use peergos_crypto::{
    Result,
    bat::Bat,
    cid::Cid,
    signing::KeyHash,
    symmetric::{CipherText, SymmetricKey},
};
use peergos_net::Block;

use super::{
    FromBase, FromParent, Node,
    bulk::{self, Payload},
    children,
};
use crate::capability::{Capability, ChildLink, MapKey, RelativeCapability, StreamSecret};

/// The keys of a new directory.
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
        let (map_key, bat) = (MapKey::generate()?, Some(Bat::generate()?));
        let next = RelativeCapability { writer: None, map_key, bat, read: self.cap.read.clone(), write: None };
        let from_base = FromBase { key: self.parent_key.clone(), next, signer };
        let list = children::encode(children)?;
        let (data, fragments) = bulk::seal(&self.cap.read, Payload::Item(&list), mirror)?;
        Ok((Node::seal(&self.cap, mirror, &from_base, &self.parent_key, from_parent, data)?, fragments))
    }
}

/// The keys of a new file.
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
}

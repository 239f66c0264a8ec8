//! The public files of an identity: read-only capabilities under paths, in the clear (spec 02 §11.5).
//!
//! An outer CHAMP holds the directories by inode. A directory is a list of its children or, once it has had more than
//! [`MAX_LIST`] of them, a CHAMP by name whose root node is embedded. Capabilities are opaque here.

mod directory;
mod edit;
#[cfg(test)]
mod tests;

use peergos_crypto::{
    cbor::Value,
    cbor_map,
    cid::{Cid, Codec},
};

use crate::{
    Block, Result,
    champ::{self, KeyHasher, NodeSource},
};

use directory::{Directory, Inode};
use edit::Edit;

pub use directory::MAX_LIST;

const HASHER: KeyHasher = KeyHasher::Sha256;

/// The structure that `WriterData.public` links to: `{"c": counter, "r": root}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InodeFileSystem {
    /// The number of the next inode.
    counter: u64,
    /// The root of the CHAMP of directories.
    root: Cid,
}

/// A changed file system.
#[derive(Debug, Clone)]
pub struct Edited {
    /// The file system.
    pub file_system: InodeFileSystem,
    /// The blocks that the old one did not have; the last is that of the file system itself, unless nothing changed.
    pub blocks: Vec<Block>,
}

/// What is published at a path or above it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published<'a> {
    /// The capability.
    pub capability: Value,
    /// The names that lead on from what it stands for.
    pub rest: Vec<&'a str>,
}

impl InodeFileSystem {
    /// The file system in which nothing is published.
    pub fn empty() -> Edited {
        let root = champ::empty();
        let file_system = Self { counter: 0, root: root.cid().clone() };
        let block = file_system.block();
        Edited { file_system, blocks: vec![root, block] }
    }

    /// The structure.
    pub fn to_cbor(&self) -> Value {
        cbor_map! { "c" => self.counter as i64, "r" => &self.root }
    }

    /// Reads the structure.
    ///
    /// # Errors
    /// [`crate::Error::Crypto`] if it is malformed.
    pub fn from_cbor(value: &Value) -> Result<Self> {
        let map = value.as_map("inode file system")?;
        Ok(Self {
            counter: map.require("c", "inode counter")?.as_uint("inode counter")?,
            root: map.require("r", "inode root")?.as_link("inode root")?.clone(),
        })
    }

    /// The block.
    pub fn block(&self) -> Block {
        Block::new(Codec::DagCbor, self.to_cbor().encode())
    }

    /// What is published at `path` (`/user/dir/file`): the first capability on the way wins.
    ///
    /// # Errors
    /// Those of `source`, and as [`InodeFileSystem::from_cbor`] for malformed directories.
    pub fn lookup<'a>(&self, source: &dyn NodeSource, path: &'a str) -> Result<Option<Published<'a>>> {
        let mut inode = Inode::root();
        let mut names = names(path);
        while let Some(name) = names.next() {
            let Some(directory) = self.directory(source, &inode)? else { return Ok(None) };
            let Some(child) = directory.get(source, name)? else { return Ok(None) };
            if let Some(capability) = child.capability {
                return Ok(Some(Published { capability, rest: names.collect() }));
            }
            inode = child.inode;
        }
        Ok(None)
    }

    /// Publishes `capability` at `path`, in place of the one that is there.
    ///
    /// # Errors
    /// As [`InodeFileSystem::lookup`], and [`crate::Error::Invalid`] for the empty path.
    pub fn add(&self, source: &dyn NodeSource, path: &str, capability: Value) -> Result<Edited> {
        let mut edit = Edit::new(self, source);
        edit.add(&names(path).collect::<Vec<_>>(), capability)?;
        edit.finish()
    }

    /// Withdraws what is published at `path` and below; nothing being there is no error. Directories that become empty
    /// go too, unless they are published themselves.
    ///
    /// # Errors
    /// As [`InodeFileSystem::lookup`].
    pub fn remove(&self, source: &dyn NodeSource, path: &str) -> Result<Edited> {
        let mut edit = Edit::new(self, source);
        edit.remove(&names(path).collect::<Vec<_>>())?;
        edit.finish()
    }

    fn directory(&self, source: &dyn NodeSource, inode: &Inode) -> Result<Option<Directory>> {
        champ::get(source, &self.root, &inode.key(), HASHER)?.map(Directory::from_cbor).transpose()
    }
}

fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|name| !name.is_empty())
}

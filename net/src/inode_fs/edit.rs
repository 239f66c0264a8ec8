//! Publishing and withdrawing.

use std::collections::BTreeMap;

use peergos_crypto::cbor::Value;

use super::{
    Edited, HASHER, InodeFileSystem,
    directory::{Child, Directory, Inode},
};
use crate::{
    Block, Error, Result,
    champ::{self, NodeSource},
};

/// A change in progress.
pub struct Edit<'a> {
    old: &'a InodeFileSystem,
    source: &'a dyn NodeSource,
    counter: u64,
    /// Changed directories by their keys.
    changed: BTreeMap<Vec<u8>, Value>,
    blocks: Vec<Block>,
}

impl<'a> Edit<'a> {
    pub const fn new(old: &'a InodeFileSystem, source: &'a dyn NodeSource) -> Self {
        Self { old, source, counter: old.counter, changed: BTreeMap::new(), blocks: Vec::new() }
    }

    pub fn add(&mut self, path: &[&str], capability: Value) -> Result<()> {
        let (last, parents) = path.split_last().ok_or(Error::Invalid("public path"))?;
        let mut inode = Inode::root();
        for name in parents {
            let directory = self.open(&inode)?;
            let next = directory.get(self.source, name)?.map(|child| child.inode);
            let next = match next {
                Some(next) => next,
                None => {
                    let next = Inode { number: self.counter, name: (*name).to_owned() };
                    self.put(&inode, directory, Child { inode: next.clone(), capability: None })?;
                    next
                }
            };
            inode = next;
        }
        let directory = self.open(&inode)?;
        let existing = directory.get(self.source, last)?.map(|child| child.inode);
        let leaf = existing.unwrap_or_else(|| Inode { number: self.counter, name: (*last).to_owned() });
        self.put(&inode, directory, Child { inode: leaf, capability: Some(capability) })
    }

    pub fn remove(&mut self, path: &[&str]) -> Result<()> {
        let mut inode = Inode::root();
        let mut way = Vec::new();
        for name in path {
            let Some(directory) = self.old.directory(self.source, &inode)? else { return Ok(()) };
            let Some(child) = directory.get(self.source, name)? else { return Ok(()) };
            way.push((inode, directory, name, child.capability.is_some()));
            inode = child.inode;
        }
        while let Some((inode, mut directory, name, _)) = way.pop() {
            self.blocks.extend(directory.remove(self.source, name)?);
            self.save(&inode, &directory)?;
            let published = way.last().is_some_and(|(.., published)| *published);
            if !directory.is_empty() || published {
                break;
            }
        }
        Ok(())
    }

    pub fn finish(mut self) -> Result<Edited> {
        if self.changed.is_empty() {
            return Ok(Edited { file_system: self.old.clone(), blocks: Vec::new() });
        }
        let changes = self.changed.into_iter().map(|(key, directory)| (key, Some(directory)));
        let applied = champ::apply(self.source, Some(&self.old.root), changes, HASHER, None)?;
        let file_system = InodeFileSystem { counter: self.counter, root: applied.root };
        self.blocks.extend(applied.blocks);
        self.blocks.push(file_system.block());
        Ok(Edited { file_system, blocks: self.blocks })
    }

    /// The directory of `inode`, new and empty if it has none yet.
    fn open(&mut self, inode: &Inode) -> Result<Directory> {
        match self.old.directory(self.source, inode)? {
            Some(directory) => Ok(directory),
            None => {
                self.counter += 1;
                Ok(Directory::List(Vec::new()))
            }
        }
    }

    fn put(&mut self, inode: &Inode, mut directory: Directory, child: Child) -> Result<()> {
        self.blocks.extend(directory.put(self.source, child)?);
        self.save(inode, &directory)
    }

    fn save(&mut self, inode: &Inode, directory: &Directory) -> Result<()> {
        self.changed.insert(inode.key(), directory.to_cbor()?);
        Ok(())
    }
}

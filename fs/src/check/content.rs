//! What files hold: every chunk is read, its authenticator verified, and the hashes of the file compared.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use peergos_crypto::hash_tree::{FAN_OUT, Hash, HashTree};
use peergos_net::Block;
use sha2::{Digest as _, Sha256};

use crate::{
    Error, Result,
    capability::{Capability, MapKey},
    check::{Kind, Repair, labels::Claim, uploads, walk::Walk},
    cryptree::{FromParent, Node, Opened},
    tree::{
        CHUNK, Entry,
        content::{Locations, OpenChunk, read_whole},
    },
};

/// A chunk that was read.
struct Chunk {
    node: Node,
    opened: Opened,
    plain: Bytes,
}

impl Walk<'_> {
    /// Looks at all chunks of a file.
    ///
    /// # Errors
    /// [`Error::Net`] if the node cannot be asked.
    pub(super) fn file(&self, entry: &Entry, path: &str) -> Result<()> {
        let (keys, size) = (&entry.keys, entry.properties.size);
        let count = size.div_ceil(CHUNK).max(1);
        let first = (keys.cap.map_key, keys.cap.bat.clone());
        let mut locations = Locations::new(first, entry.properties.stream_secret.clone());
        // of each chunk; none once one could not be read
        let mut hashes: Option<Vec<Hash>> = Some(Vec::new());
        let mut branches_differ = Vec::new();
        for index in 0..count {
            let located = locations.get(self.drive, keys, index);
            let Some(location) = self.judge(path, located)? else { return Ok(()) };
            let cap = keys.cap.at(location.0, location.1);
            if index > 0 && self.labels.claim(&cap.writer, cap.map_key) != Claim::First {
                self.report(Kind::Dangling, path, || format!("chunk {index} of {count} is missing"));
                return Ok(());
            }
            let read = self.chunk(&cap).and_then(|chunk| Ok((hash(&chunk.plain, index, size)?, chunk)));
            match read {
                Ok((hash, chunk)) => {
                    self.progress.bytes.fetch_add(chunk.plain.len() as u64, Ordering::Relaxed);
                    hashes.iter_mut().for_each(|hashes| hashes.push(hash));
                    if index.is_multiple_of(FAN_OUT as u64) {
                        branches_differ.push((cap.map_key, chunk.node, chunk.opened));
                    }
                    if index == 0 && Self::is_note(path) && size <= uploads::MAX_NOTE {
                        self.judge(path, self.uploads(path, &chunk.plain))?;
                    }
                }
                Err(error) if error.is_of_one_entry() => {
                    let chunk = if count > 1 { format!("chunk {index} of {count}: ") } else { String::new() };
                    self.report(Kind::Damaged, path, || format!("{chunk}{error}"));
                    hashes = None;
                }
                Err(error) => return Err(error),
            }
        }
        self.excess(entry, path, &mut locations, count)?;
        match hashes {
            Some(hashes) => self.hashes(entry, path, &hashes, branches_differ),
            None => Ok(()),
        }
    }

    fn chunk(&self, cap: &Capability) -> Result<Chunk> {
        let node = self.drive.spaces.node(cap)?.ok_or(Error::Dangling)?.node;
        let opened = node.open(&cap.read)?;
        let plain = read_whole(self.drive, &OpenChunk { data: node.data.clone(), key: opened.data_key.clone() })?;
        Ok(Chunk { node, opened, plain })
    }

    /// Reports chunks beyond the end of a file, which no client reads.
    fn excess(&self, entry: &Entry, path: &str, locations: &mut Locations, count: u64) -> Result<()> {
        let mut excess = 0;
        loop {
            let located = locations.get(self.drive, &entry.keys, count + excess);
            // the chain of an old file ends where it cannot be followed
            let Some(location) = self.judge(path, located)? else { return Ok(()) };
            if self.labels.claim(&entry.keys.cap.writer, location.0) != Claim::First {
                break;
            }
            excess += 1;
        }
        if excess > 0 {
            self.report(Kind::Excess, path, || format!("{excess} chunks are stored beyond its size"));
        }
        Ok(())
    }

    /// Compares the stored hashes with those of the content. `parts` are the nodes that have some.
    fn hashes(&self, entry: &Entry, path: &str, hashes: &[Hash], parts: Vec<(MapKey, Node, Opened)>) -> Result<()> {
        // without any, clients compute them when they need them
        if parts.first().is_none_or(|(_, _, opened)| opened.properties.tree_hash.is_none()) {
            return Ok(());
        }
        let tree = HashTree::from_chunk_hashes(hashes)?;
        let mut nodes: Vec<(MapKey, Option<Block>)> = Vec::new();
        for (index, (label, node, opened)) in (0..).step_by(FAN_OUT).zip(parts) {
            let branch = Some(tree.branch(index));
            if opened.properties.tree_hash == branch {
                continue;
            }
            let mut from_parent = FromParent { parent: opened.parent, properties: opened.properties };
            from_parent.properties.tree_hash = branch;
            nodes.push((label, Some(node.with_from_parent(&opened.parent_key, &from_parent)?.to_block())));
        }
        if nodes.is_empty() {
            return Ok(());
        }
        let finding =
            self.report(Kind::StaleHash, path, || "the stored hashes are not those of its content".to_owned());
        if let Some(signer) = &entry.keys.signer {
            self.mend(Repair { finding, signer: signer.clone(), nodes });
        }
        Ok(())
    }
}

/// The hash of a chunk's content, which is as long as the size of the file demands. Two oddities of the reference are
/// borne with: a last chunk that is full of zeros behind the end, and what is left of a file that was cut to nothing.
fn hash(plain: &[u8], index: u64, size: u64) -> Result<Hash> {
    let want = (size - index * CHUNK).min(CHUNK) as usize;
    let rest = plain.get(want..).ok_or(Error::Damaged("a chunk holds less than the size of its file says"))?;
    let is_odd = size == 0 || index > 0 && plain.len() as u64 == CHUNK && rest.iter().all(|byte| *byte == 0);
    if rest.is_empty() || is_odd {
        Ok(Sha256::digest(&plain[..want]).into())
    } else {
        Err(Error::Damaged("a chunk holds more than the size of its file says"))
    }
}

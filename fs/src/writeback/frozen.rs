//! The state of a content in a group.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    tree::{ChunkState, SealedChunk, content::Locations},
    writeback::{Buffer, Seal, StoredContent, Swapped},
};

/// A chunk's state in a group.
#[derive(Debug, Clone)]
pub enum FrozenChunk {
    /// Final when the seal ends, otherwise the buffer.
    Sealing(Arc<Buffer>, Arc<Seal>),
    /// Outside memory; with what it became when it was sealed for an earlier group, if it was.
    Swapped(Arc<Swapped>, Option<Arc<SealedChunk>>),
    /// Known.
    State(ChunkState<Arc<Buffer>>),
}

/// A content's state in a group.
#[derive(Debug)]
pub struct Frozen {
    /// Size in bytes.
    pub size: u64,
    /// The chunks that change.
    pub chunks: BTreeMap<u64, FrozenChunk>,
    /// Whether size or content changes.
    pub changed: bool,
    /// What the node holds before the group.
    pub stored: StoredContent,
    /// Where the chunks are.
    pub locations: Locations,
}

impl Frozen {
    /// Waits for the chunks that are being sealed; those that failed are sealed with the group.
    pub fn await_seals(&mut self) {
        for chunk in self.chunks.values_mut() {
            if let FrozenChunk::Sealing(buffer, seal) = chunk {
                *chunk = FrozenChunk::State(match seal.wait() {
                    Some(sealed) => ChunkState::Sealed(sealed),
                    None => ChunkState::Plain(buffer.clone()),
                });
            }
        }
    }
}

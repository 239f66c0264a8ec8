//! The chunk nodes of a file that were opened lately.

use std::sync::Arc;

use lru::LruCache;

use crate::tree::content::OpenChunk;

/// How many opened chunk nodes of a file are remembered: those of 2.5 GiB, in about a megabyte of memory.
const OPEN_CHUNKS: usize = 512;

/// The chunk nodes of a file that were opened lately.
#[derive(Debug)]
pub(super) struct OpenChunks {
    chunks: LruCache<u64, Arc<OpenChunk>>,
    room: usize,
}

impl Default for OpenChunks {
    fn default() -> Self {
        // most files have one chunk, so room is not made ahead
        Self { chunks: LruCache::unbounded(), room: OPEN_CHUNKS }
    }
}

impl OpenChunks {
    pub fn get(&mut self, index: u64) -> Option<&Arc<OpenChunk>> {
        self.chunks.get(&index)
    }

    pub fn put(&mut self, index: u64, open: Arc<OpenChunk>) {
        self.chunks.put(index, open);
        if self.chunks.len() > self.room {
            self.chunks.pop_lru();
        }
    }

    /// Has room for at least `count` from now on.
    pub fn keep(&mut self, count: usize) {
        self.room = self.room.max(count);
    }

    pub fn retain(&mut self, keep: impl Fn(u64) -> bool) {
        let gone: Vec<u64> = self.chunks.iter().map(|(index, _)| *index).filter(|index| !keep(*index)).collect();
        for index in gone {
            self.chunks.pop(&index);
        }
    }
}

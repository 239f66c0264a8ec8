//! Decrypted chunks, bounded in bytes. Nodes and ciphertext blocks are cached where they are verified
//! ([`peergos_net::Verified`]).

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use lru::LruCache;
use parking_lot::{Condvar, Mutex};

use crate::{
    Result, turns,
    writeback::{Budget, Buffer},
};

/// What identifies a ciphertext for ever: the nonce, which is never used twice.
pub type ChunkId = [u8; 24];

/// The plaintext of a chunk.
#[derive(Debug)]
pub enum Plain {
    /// As it was decrypted.
    Read(Bytes),
    /// As it was written.
    Written(Arc<Buffer>),
}

impl Plain {
    /// The bytes of memory that it takes.
    fn memory(&self) -> usize {
        match self {
            Self::Read(bytes) => bytes.len(),
            Self::Written(buffer) => buffer.memory(),
        }
    }
}

impl std::ops::Deref for Plain {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Read(bytes) => bytes,
            Self::Written(buffer) => buffer.bytes(),
        }
    }
}

/// The least recently used chunks leave when their bytes, with those that are on their way, exceed the limit, which is
/// lower, by up to three quarters, while written data takes more than a quarter of its own budget. What is being fetched is
/// fetched once, however many ask for it.
pub struct Chunks {
    limit: usize,
    budget: Arc<Budget>,
    state: Mutex<State>,
    arrived: Condvar,
}

struct State {
    chunks: LruCache<ChunkId, Arc<Plain>>,
    bytes: usize,
    /// What is on its way, with the bytes of memory that it may take.
    fetching: HashMap<ChunkId, usize>,
}

impl Chunks {
    /// An empty cache for `limit` bytes, beside what `budget` bounds.
    pub fn new(limit: usize, budget: Arc<Budget>) -> Self {
        let state = State { chunks: LruCache::unbounded(), bytes: 0, fetching: HashMap::new() };
        Self { limit, budget, state: Mutex::new(state), arrived: Condvar::new() }
    }

    /// The chunk, if it is here.
    pub fn get(&self, id: &ChunkId) -> Option<Arc<Plain>> {
        self.state.lock().chunks.get(id).cloned()
    }

    /// Whether the chunk is here or on its way.
    pub fn is_coming(&self, id: &ChunkId) -> bool {
        let state = self.state.lock();
        state.chunks.contains(id) || state.fetching.contains_key(id)
    }

    /// The bytes of all chunks.
    pub fn bytes(&self) -> usize {
        self.state.lock().bytes
    }

    /// Takes a chunk in.
    pub fn insert(&self, id: ChunkId, plain: Arc<Plain>) {
        self.put(&mut self.state.lock(), id, plain);
    }

    fn put(&self, state: &mut State, id: ChunkId, plain: Arc<Plain>) {
        state.bytes += plain.memory();
        if let Some(old) = state.chunks.put(id, plain) {
            state.bytes -= old.memory();
        }
        self.bound(state);
    }

    /// Has a chunk leave that nobody will read any more.
    pub fn remove(&self, id: &ChunkId) {
        let mut state = self.state.lock();
        if let Some(old) = state.chunks.pop(id) {
            state.bytes -= old.memory();
        }
    }

    /// Has chunks leave if written data needs their memory.
    pub fn yield_to_written(&self) {
        if self.budget.beyond_quarter() > 0 {
            self.bound(&mut self.state.lock());
        }
    }

    fn bound(&self, state: &mut State) {
        let limit = self.limit - self.budget.beyond_quarter().min(self.limit / 4 * 3);
        let coming: usize = state.fetching.values().sum();
        while state.bytes + coming > limit {
            match state.chunks.pop_lru() {
                Some((_, old)) => state.bytes -= old.memory(),
                None => break,
            }
        }
    }

    /// The chunk; `fetch` brings it, in at most `room` bytes of memory, if it is neither here nor on its way.
    ///
    /// # Errors
    /// What `fetch` returns.
    pub fn get_or_fetch(&self, id: &ChunkId, room: usize, fetch: impl FnOnce() -> Result<Plain>) -> Result<Arc<Plain>> {
        let mut state = self.state.lock();
        loop {
            if let Some(plain) = state.chunks.get(id) {
                return Ok(plain.clone());
            }
            if !state.fetching.contains_key(id) {
                break;
            }
            turns::pass();
            self.arrived.wait(&mut state);
        }
        state.fetching.insert(*id, room);
        self.bound(&mut state);
        drop(state);
        turns::pass();
        self.fetch(id, fetch)
    }

    /// As [`Chunks::get_or_fetch`], without waiting: nothing is done where the chunk is here or on its way.
    ///
    /// # Errors
    /// What `fetch` returns.
    pub fn fetch_unless_coming(&self, id: &ChunkId, room: usize, fetch: impl FnOnce() -> Result<Plain>) -> Result<()> {
        let mut state = self.state.lock();
        if state.chunks.contains(id) || state.fetching.contains_key(id) {
            return Ok(());
        }
        state.fetching.insert(*id, room);
        self.bound(&mut state);
        drop(state);
        self.fetch(id, fetch).map(|_| ())
    }

    /// Fetches a chunk that is marked as being fetched.
    fn fetch(&self, id: &ChunkId, fetch: impl FnOnce() -> Result<Plain>) -> Result<Arc<Plain>> {
        let _done = Done { cache: self, id };
        let plain = Arc::new(fetch()?);
        let mut state = self.state.lock();
        state.fetching.insert(*id, 0);
        self.put(&mut state, *id, plain.clone());
        Ok(plain)
    }
}

/// Ends a fetch however it ends, a panic included, so that nobody waits for it for ever.
struct Done<'a> {
    cache: &'a Chunks,
    id: &'a ChunkId,
}

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.cache.state.lock().fetching.remove(self.id);
        self.cache.arrived.notify_all();
    }
}

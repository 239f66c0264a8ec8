//! How much memory unwritten data takes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::{Condvar, Mutex};

use crate::{spare, turns};

/// Buffers up to this many bytes grow by doubling, larger ones get the room of a whole chunk.
const SMALL: usize = 1 << 20;

/// A bound on the bytes of all [`Buffer`]s together, at least half of which they have whatever else takes memory. Writers
/// wait when it is exceeded.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    used: AtomicUsize,
    /// Bytes that something else takes.
    lent: AtomicUsize,
    /// Bytes that the buffers hold, of the memory that they use.
    content: AtomicUsize,
    lock: Mutex<()>,
    released: Condvar,
}

impl Budget {
    /// A bound of `limit` bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicUsize::new(0),
            lent: AtomicUsize::new(0),
            content: AtomicUsize::new(0),
            lock: Mutex::new(()),
            released: Condvar::new(),
        })
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes that are written and not stored.
    pub fn content(&self) -> usize {
        self.content.load(Ordering::Relaxed)
    }

    /// Whether the bound is exceeded.
    pub fn is_exceeded(&self) -> bool {
        self.used() > self.limit - self.lent.load(Ordering::Relaxed).min(self.limit / 2)
    }

    /// Something else takes so many bytes of memory now.
    pub fn lend(&self, bytes: usize) {
        self.lent.store(bytes, Ordering::Relaxed);
    }

    /// Whether half of what may be used is not.
    pub fn is_half_free(&self) -> bool {
        self.used() <= self.limit / 2
    }

    /// The bytes in use beyond a quarter of the bound.
    pub fn beyond_quarter(&self) -> usize {
        self.used().saturating_sub(self.limit / 4)
    }

    /// Waits until bytes are released, at most for `limit`.
    pub fn wait(&self, limit: Duration) {
        let mut guard = self.lock.lock();
        if self.is_exceeded() {
            turns::pass();
            self.released.wait_for(&mut guard, limit);
        }
    }

    fn charge(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    fn release(&self, bytes: usize) {
        if bytes > 0 {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            let _guard = self.lock.lock();
            self.released.notify_all();
        }
    }
}

/// The plaintext of a chunk that is being written, counted against a [`Budget`].
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    budget: Arc<Budget>,
    charged: AtomicUsize,
    /// How many of its bytes are counted as written and not stored.
    counted: AtomicUsize,
}

impl Buffer {
    /// An empty buffer.
    pub fn new(budget: &Arc<Budget>) -> Self {
        Self { bytes: Vec::new(), budget: budget.clone(), charged: AtomicUsize::new(0), counted: AtomicUsize::new(0) }
    }

    /// A buffer that holds `bytes`.
    pub fn from_slice(budget: &Arc<Budget>, bytes: &[u8]) -> Self {
        let mut buffer = Self::new(budget);
        buffer.write(0, bytes, bytes.len());
        buffer
    }

    /// What it holds.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes of memory that it takes.
    pub const fn memory(&self) -> usize {
        self.bytes.capacity()
    }

    /// Writes `data` at `start`, filling a gap with zeros. Room for more than `full` bytes is never made.
    pub fn write(&mut self, start: usize, data: &[u8], full: usize) {
        let end = start + data.len();
        if end > self.bytes.capacity() {
            // what outgrows a small file is likely to fill its chunk, and growing it step by step leaves holes in memory
            let room = if end <= SMALL { end.next_power_of_two() } else { full.max(end) };
            self.make_room(room);
            self.recharge();
        }
        if start == self.bytes.len() {
            self.bytes.extend_from_slice(data);
        } else {
            if self.bytes.len() < end {
                self.bytes.resize(end, 0);
            }
            self.bytes[start..end].copy_from_slice(data);
        }
        self.count(self.bytes.len());
    }

    fn make_room(&mut self, room: usize) {
        if room <= SMALL {
            self.bytes.reserve_exact(room - self.bytes.len());
            return;
        }
        let mut bytes = spare::take(room);
        bytes.extend_from_slice(&self.bytes);
        self.bytes = bytes;
    }

    /// Cuts it to `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
        self.count(self.bytes.len());
        if len == 0 {
            self.bytes = Vec::new();
            self.recharge();
        }
    }

    /// No longer counts it: it is committed, and a cache accounts for it now.
    pub fn uncharge(&self) {
        self.count(0);
        self.budget.release(self.charged.swap(0, Ordering::Relaxed));
    }

    fn count(&self, now: usize) {
        let before = self.counted.swap(now, Ordering::Relaxed);
        if now > before {
            self.budget.content.fetch_add(now - before, Ordering::Relaxed);
        } else {
            self.budget.content.fetch_sub(before - now, Ordering::Relaxed);
        }
    }

    fn recharge(&self) {
        let now = self.bytes.capacity();
        let before = self.charged.swap(now, Ordering::Relaxed);
        if now > before {
            self.budget.charge(now - before);
        } else {
            self.budget.release(before - now);
        }
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        let mut buffer = Self::new(&self.budget);
        buffer.make_room(self.bytes.capacity());
        buffer.bytes.extend_from_slice(&self.bytes);
        buffer.recharge();
        buffer.count(buffer.bytes.len());
        buffer
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.uncharge();
        if self.bytes.capacity() > SMALL && self.budget.is_half_free() {
            spare::give(std::mem::take(&mut self.bytes));
        }
    }
}

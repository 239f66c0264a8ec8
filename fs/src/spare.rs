//! The memory of whole chunks that are no longer needed, for the next ones: fresh memory costs a fault for each page.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::{cryptree::bulk::HEAD_ROOM, tree::CHUNK};

/// The memory of how many chunks is kept: as one is encrypted or decrypted, another is filled.
const KEPT: usize = 2;
/// What is reserved for a chunk, read or written.
const WHOLE: usize = CHUNK as usize + HEAD_ROOM;

/// After how many chunks free memory is given back.
const TRIM_EVERY: usize = 16;

static TAKEN: AtomicUsize = AtomicUsize::new(0);
static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Memory for at least `room` bytes, with nothing in it. Kept memory is used for what is about as long as a chunk.
pub fn take(room: usize) -> Vec<u8> {
    if !(CHUNK as usize..=WHOLE).contains(&room) {
        return Vec::with_capacity(room);
    }
    if TAKEN.fetch_add(1, Ordering::Relaxed) % TRIM_EVERY == TRIM_EVERY - 1 {
        trim();
    }
    let spare = SPARE.lock().pop();
    spare.unwrap_or_else(|| Vec::with_capacity(WHOLE))
}

/// Has glibc give memory back that is free between what is in use: what fragments were read or written leaves many holes.
#[allow(unsafe_code)]
fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number, and may be called at any time by any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Takes memory back, if it is that of a chunk.
pub fn give(mut memory: Vec<u8>) {
    if memory.capacity() >= WHOLE {
        let mut spare = SPARE.lock();
        if spare.len() < KEPT {
            memory.clear();
            spare.push(memory);
        }
    }
}

/// Bytes in memory that is given back when nobody needs them any more.
pub fn lend(memory: Vec<u8>) -> Bytes {
    struct Lent(Vec<u8>);

    impl AsRef<[u8]> for Lent {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    impl Drop for Lent {
        fn drop(&mut self) {
            give(std::mem::take(&mut self.0));
        }
    }

    if memory.capacity() < WHOLE { memory.into() } else { Bytes::from_owner(Lent(memory)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_chunks_goes_round() {
        let mut memory = take(CHUNK as usize);
        memory.extend_from_slice(b"chunk");
        let bytes = lend(memory);
        let part = bytes.slice(1..3);
        drop(bytes);
        assert_eq!(&*part, b"hu");
        drop(part);
        (0..2 * KEPT).for_each(|_| give(Vec::with_capacity(WHOLE)));
        give(Vec::with_capacity(7));
        assert!(SPARE.lock().len() <= KEPT);
        let again = take(CHUNK as usize);
        assert!(again.is_empty() && again.capacity() >= WHOLE && take(7).capacity() < WHOLE);
        assert_eq!(&*lend(b"small".to_vec()), b"small");
    }
}

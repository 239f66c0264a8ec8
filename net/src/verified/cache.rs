//! A cache by CID that holds a bounded number of bytes.

use lru::LruCache;
use parking_lot::Mutex;
use peergos_crypto::cid::Cid;

/// What an entry costs besides its value, in bytes.
const OVERHEAD: usize = 160;

/// Drops what was not used for longest.
pub(super) struct Cache<V> {
    max: usize,
    entries: Mutex<Entries<V>>,
}

struct Entries<V> {
    /// With what each weighs.
    map: LruCache<Cid, (V, usize)>,
    weight: usize,
}

impl<V: Clone> Cache<V> {
    /// An empty cache for `max` bytes.
    pub fn new(max: usize) -> Self {
        Self { max, entries: Mutex::new(Entries { map: LruCache::unbounded(), weight: 0 }) }
    }

    /// What is known of `cid`.
    pub fn get(&self, cid: &Cid) -> Option<V> {
        self.entries.lock().map.get(cid).map(|(value, _)| value.clone())
    }

    /// Remembers a value that takes `len` bytes.
    pub fn put(&self, cid: &Cid, value: V, len: usize) {
        let weight = len + OVERHEAD;
        if weight > self.max {
            return;
        }
        let mut entries = self.entries.lock();
        let entries = &mut *entries;
        if let Some((_, old)) = entries.map.put(cid.clone(), (value, weight)) {
            entries.weight -= old;
        }
        entries.weight += weight;
        while entries.weight > self.max
            && let Some((_, (_, old))) = entries.map.pop_lru()
        {
            entries.weight -= old;
        }
    }
}

#[cfg(test)]
mod tests {
    use peergos_crypto::cid::Codec;

    use super::*;

    fn cid(i: u8) -> Cid {
        Cid::sha256(Codec::Raw, [i; 32])
    }

    #[test]
    fn drops_what_was_not_used_for_longest() {
        let cache = Cache::new(3 * (100 + OVERHEAD));
        (0..3).for_each(|i| cache.put(&cid(i), i, 100));
        assert_eq!(cache.get(&cid(0)), Some(0));
        cache.put(&cid(3), 3, 100);
        let left: Vec<_> = (0..4).filter_map(|i| cache.get(&cid(i))).collect();
        assert_eq!(left, [0, 2, 3]);
    }

    #[test]
    fn counts_bytes_and_not_entries() {
        let cache = Cache::new(1000);
        cache.put(&cid(0), 0, 100);
        cache.put(&cid(0), 1, 600);
        assert_eq!(cache.get(&cid(0)), Some(1));
        cache.put(&cid(1), 1, 600);
        assert_eq!((cache.get(&cid(0)), cache.get(&cid(1))), (None, Some(1)));
        cache.put(&cid(2), 2, 1000);
        assert_eq!((cache.get(&cid(1)), cache.get(&cid(2))), (Some(1), None));
        assert_eq!(cache.entries.lock().weight, 600 + OVERHEAD);
    }
}

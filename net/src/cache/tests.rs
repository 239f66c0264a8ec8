//! What is kept, what goes, and what damage does.

use std::{
    collections::HashSet,
    fs::{self, File},
    path::Path,
    time::{Duration, SystemTime},
};

use peergos_crypto::cid::Codec;

use super::{DiskCache, PAGE, path};
use crate::Block;

fn block(i: u8, len: usize) -> Block {
    Block::new(Codec::Raw, vec![i; len])
}

/// Opens the cache, puts blocks and closes it, when all is written.
fn fill(dir: &Path, max: u64, blocks: &[Block]) {
    let cache = DiskCache::open(dir, max).unwrap();
    blocks.iter().for_each(|block| cache.put(block));
}

/// Makes it seem that a block was used `hours` ago.
fn age(dir: &Path, block: &Block, hours: u64) {
    let then = SystemTime::now() - Duration::from_secs(hours * 3600 + 60);
    File::options().write(true).open(path(dir, block.cid())).unwrap().set_modified(then).unwrap();
}

#[test]
fn blocks_are_there_again() {
    let dir = tempfile::tempdir().unwrap();
    let blocks = [block(1, 0), block(2, 10), block(3, crate::MAX_BLOCK)];
    fill(dir.path(), 1 << 30, &blocks);
    let (one, other) = (DiskCache::open(dir.path(), 1 << 30).unwrap(), DiskCache::open(dir.path(), 1 << 30).unwrap());
    for block in &blocks {
        assert_eq!(one.get(block.cid()).as_ref(), Some(block));
        assert_eq!(other.get(block.cid()).as_ref(), Some(block));
    }
    assert_eq!(one.get(block(4, 4).cid()), None);
}

#[test]
fn what_is_damaged_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let block = block(7, 5000);
    for damage in [&b""[..], &[7; 4999], &[7; 5001], &[0; 5000], &[7; crate::MAX_BLOCK + 9]] {
        fill(dir.path(), 1 << 30, std::slice::from_ref(&block));
        let cache = DiskCache::open(dir.path(), 1 << 30).unwrap();
        fs::write(path(dir.path(), block.cid()), damage).unwrap();
        assert_eq!(cache.get(block.cid()), None, "{}", damage.len());
        // so that it can be kept again
        assert!(!path(dir.path(), block.cid()).exists());
    }
}

#[test]
fn what_was_not_used_for_longest_goes() {
    let dir = tempfile::tempdir().unwrap();
    let blocks: Vec<Block> = (0..10).map(|i| block(i, 100)).collect();
    fill(dir.path(), 1 << 30, &blocks);
    for (block, hours) in blocks.iter().zip((2..12).rev()) {
        age(dir.path(), block, hours);
    }
    let max = 10 * PAGE;
    let cache = DiskCache::open(dir.path(), max).unwrap();
    // the oldest is used again
    cache.get(blocks[0].cid()).unwrap();
    cache.put(&block(10, 100));
    drop(cache);
    let left: Vec<bool> = blocks.iter().map(|block| path(dir.path(), block.cid()).exists()).collect();
    assert_eq!(left, [true, false, false, true, true, true, true, true, true, true]);
    assert!(path(dir.path(), block(10, 100).cid()).exists());
}

#[test]
fn a_full_cache_stays_within_its_bounds() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let blocks: Vec<Block> = (0..40).map(|i| block(round * 40 + i, 3000)).collect();
        fill(dir.path(), 64 * PAGE, &blocks);
        assert!(super::evict::used(dir.path()) <= 64 * PAGE);
    }
}

#[test]
fn what_is_kept_for_somebody_does_not_go() {
    let dir = tempfile::tempdir().unwrap();
    let [kept, put, other] = [block(1, 5000), block(2, 5000), block(3, 5000)];
    let cache = DiskCache::open(dir.path(), 1).unwrap();
    cache.pin("ada", &kept).unwrap();
    drop(cache);
    // moved there from among the others
    fill(dir.path(), 1 << 30, std::slice::from_ref(&put));
    let cache = DiskCache::open(dir.path(), 1).unwrap();
    cache.pin("ada", &put).unwrap();
    cache.pin("bob", &other).unwrap();
    drop(cache);
    for i in 10..20 {
        fill(dir.path(), 1, &[block(i, 5000)]);
    }
    let cache = DiskCache::open(dir.path(), 1 << 30).unwrap();
    for block in [&kept, &put, &other] {
        assert_eq!(cache.get(block.cid()).as_ref(), Some(block));
    }
    cache.release_others("ada", &[kept.cid().clone()].into()).unwrap();
    cache.release_others("nobody", &HashSet::new()).unwrap();
    drop(cache);
    let cached = |block: &Block| path(dir.path(), block.cid()).exists();
    assert!(!cached(&kept) && cached(&put) && !cached(&other), "only what was released is cached like the rest");
    fill(dir.path(), 1, &[block(30, 5000)]);
    let cache = DiskCache::open(dir.path(), 1 << 30).unwrap();
    assert_eq!(cache.get(put.cid()), None);
    assert_eq!(cache.get(kept.cid()), Some(kept.clone()));
    // a damaged one is none
    let file = dir.path().join("pinned/ada").join(kept.cid().to_string());
    fs::write(&file, "damaged").unwrap();
    assert_eq!(cache.get(kept.cid()), None);
    assert!(!file.exists());
}

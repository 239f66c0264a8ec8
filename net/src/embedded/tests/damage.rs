//! Stores that something has happened to.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use super::support::*;
use crate::{Block, CacheSizes, EmbeddedNode, Error, Node, Verified};

/// A closed store with an account, and its fragments.
fn store() -> (tempfile::TempDir, Client, Vec<Block>) {
    let (dir, node) = fresh();
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    let fragments: Vec<Block> = (0..3).map(|seed| fragment(seed, FRAGMENT, &[])).collect();
    let entries: Vec<_> =
        fragments.iter().zip(0..).map(|(block, seed)| (map_key(seed), Some(entry(seed, 3000, &[block])))).collect();
    client.commit(&node, &entries, &fragments).unwrap();
    (dir, client, fragments)
}

fn refusal(dir: &Path) -> String {
    match EmbeddedNode::open(dir) {
        Err(error @ Error::Store(_)) => error.to_string(),
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("a damaged store was opened"),
    }
}

#[test]
fn a_truncated_database_is_named() {
    let (dir, client, _) = store();
    let index = dir.path().join("index.redb");
    let whole = fs::read(&index).unwrap();
    for len in [0, 1, 100, 4096, 10_000, whole.len() / 2, whole.len() - 4096] {
        fs::write(&index, &whole[..len]).unwrap();
        assert!(refusal(dir.path()).contains("index.redb"));
    }
    fs::write(&index, vec![0x55; whole.len()]).unwrap();
    assert!(refusal(dir.path()).contains("index.redb"));
    // without it, nothing must be taken for a new store
    fs::remove_file(&index).unwrap();
    assert!(refusal(dir.path()).contains("index.redb is missing"));
    fs::write(&index, &whole).unwrap();
    let node = Arc::new(EmbeddedNode::open(dir.path()).unwrap());
    assert!(client.read(&node, map_key(1)).is_some());
}

#[test]
fn an_older_index_is_refused() {
    let (dir, client, _) = store();
    let index = dir.path().join("index.redb");
    let backup = fs::read(&index).unwrap();
    // opened and not written to, it is the same store
    drop(EmbeddedNode::open(dir.path()).unwrap());
    fs::write(&index, &backup).unwrap();
    let node = Arc::new(EmbeddedNode::open(dir.path()).unwrap());
    let large = fragment(10, FRAGMENT, &[]);
    let newer = [(map_key(10), Some(entry(10, 3000, &[&large])))];
    client.commit(&node, &newer, &[large]).unwrap();
    drop(node);
    let whole = fs::read(&index).unwrap();
    fs::write(&index, &backup).unwrap();
    assert!(refusal(dir.path()).contains("index.redb is older"));
    // and nothing was removed
    fs::write(&index, &whole).unwrap();
    let node = Arc::new(EmbeddedNode::open(dir.path()).unwrap());
    assert!(client.read(&node, map_key(10)).is_some());
    drop(node);
    // the way out that the message tells
    fs::write(&index, &backup).unwrap();
    fs::remove_file(dir.path().join("packs/epoch")).unwrap();
    let node = Arc::new(EmbeddedNode::open(dir.path()).unwrap());
    assert!(client.read(&node, map_key(1)).is_some());
}

#[test]
fn a_store_that_was_hardly_begun_is_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("index.new"), b"half of a database").unwrap();
    let node = EmbeddedNode::open(dir.path()).unwrap();
    Client::new("alice").sign_up(&node).unwrap();
    assert!(!dir.path().join("index.new").exists());
}

#[test]
fn damage_in_the_database_is_found_or_does_no_harm() {
    let (dir, client, _) = store();
    let index = dir.path().join("index.redb");
    let whole = fs::read(&index).unwrap();
    let mut found = 0;
    for page in 0..whole.len() / 4096 {
        let mut damaged = whole.clone();
        for byte in &mut damaged[page * 4096 + 100..page * 4096 + 200] {
            *byte ^= 0x5a;
        }
        fs::write(&index, damaged).unwrap();
        match EmbeddedNode::open(dir.path()) {
            Ok(node) => assert!(client.read(&Arc::new(node), map_key(1)).is_some(), "page {page}"),
            Err(error) => {
                assert!(error.to_string().contains("index.redb"), "{error}");
                found += 1;
            }
        }
    }
    assert!(found > 0);
}

#[test]
fn a_missing_or_truncated_pack_is_named() {
    let (dir, client, _) = store();
    let pack = dir.path().join("packs/0.pack");
    let whole = fs::read(&pack).unwrap();
    for len in [0, 50, whole.len() - 1] {
        fs::write(&pack, &whole[..len]).unwrap();
        let refusal = refusal(dir.path());
        assert!(refusal.contains("0.pack is truncated"), "{refusal}");
    }
    fs::remove_file(&pack).unwrap();
    assert!(refusal(dir.path()).contains("0.pack"));
    // what is beyond the last commit is nobody's
    fs::write(&pack, [&whole[..], b"unfinished"].concat()).unwrap();
    fs::write(dir.path().join("packs/1.pack"), b"unfinished").unwrap();
    let node = Arc::new(EmbeddedNode::open(dir.path()).unwrap());
    assert_eq!(fs::read(&pack).unwrap(), whole);
    assert!(!dir.path().join("packs/1.pack").exists());
    assert!(client.read(&node, map_key(0)).is_some());
}

fn fragment_file(dir: &Path, block: &Block) -> PathBuf {
    let hex = hex::encode(block.cid().sha256_digest().unwrap());
    dir.join(format!("blocks/0/{}/{hex}.raw", &hex[..2]))
}

#[test]
fn parts_are_read_of_what_has_its_hash() {
    let (dir, client, fragments) = store();
    let node = EmbeddedNode::open(dir.path()).unwrap();
    let part = |block: &Block, range| {
        let mut part = b"before".to_vec();
        let is_there = node.get_payload(client.owner(), block.cid(), None, range, &mut part).unwrap();
        let part = part.strip_prefix(b"before").unwrap().to_vec();
        assert!(is_there || part.is_empty());
        is_there.then_some(part)
    };
    let [whole, changed] = [&fragments[0], &fragments[1]];
    for _ in 0..2 {
        assert_eq!(part(whole, 1000..5000).unwrap(), whole.data()[1000..5000]);
        assert!(part(whole, whole.data().len()..usize::MAX).unwrap().is_empty());
        assert_eq!(part(whole, 0..usize::MAX).unwrap(), whole.data()[..]);
        assert_eq!(part(changed, 0..10).unwrap(), changed.data()[..10]);
    }
    let file = fragment_file(dir.path(), changed);
    File::options().write(true).open(&file).unwrap().write_all_at(b"damage", 1000).unwrap();
    // even where it is whole
    assert_eq!(part(changed, 0..10), None);
    fs::write(&file, changed.data()).unwrap();
    assert_eq!(part(changed, 0..10).unwrap(), changed.data()[..10]);
    fs::remove_file(&file).unwrap();
    assert_eq!(part(changed, 0..10), None);
    assert_eq!(part(whole, 0..1).unwrap(), whole.data()[..1]);
}

#[test]
fn what_is_kept_beside_a_block_is_not_of_it() {
    let (dir, node) = fresh();
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    let beside: Vec<u8> = (0..4096).map(|at| (at % 253) as u8).collect();
    let plain: Vec<Block> = (0..2).map(|seed| fragment(seed, FRAGMENT, &[client.bat.mirror_id()])).collect();
    let small = fragment(9, 1000, &[]);
    let blocks = [
        plain[0].clone().with_beside(beside.clone().into()),
        plain[1].clone(),
        small.with_beside(beside.clone().into()),
    ];
    client.commit(&node, &[(map_key(1), Some(entry(1, 100, &[&blocks[0], &blocks[1], &blocks[2]])))], &blocks).unwrap();
    drop(node);
    let node = EmbeddedNode::open(dir.path()).unwrap();
    assert!(node.keeps_beside());
    let token = client.mirror_bat();
    let part = |block: &Block, payload, of_beside| {
        let mut out = b"before".to_vec();
        let beside = node.get_part(client.owner(), block.cid(), Some(&token), payload, of_beside, &mut out).unwrap();
        let payload = out.strip_prefix(b"before").unwrap().to_vec();
        assert!(beside.is_some() || payload.is_empty());
        beside.map(|beside| (payload, beside))
    };
    let payload = &plain[0].data()[plain[0].data().len() - FRAGMENT..];
    let found = |payload: &[u8], beside: &[u8]| Some((payload.to_vec(), beside.to_vec()));
    assert_eq!(part(&blocks[0], 10..500, 20..40), found(&payload[10..500], &beside[20..40]));
    assert_eq!(part(&blocks[0], 0..usize::MAX, 0..usize::MAX), found(payload, &beside));
    assert_eq!(
        part(&blocks[0], FRAGMENT - 1..FRAGMENT + 9, 4090..5000),
        found(&payload[FRAGMENT - 1..], &beside[4090..])
    );
    assert_eq!(part(&blocks[0], FRAGMENT..usize::MAX, usize::MAX - 1..usize::MAX), found(&[], &[]));
    assert_eq!(part(&blocks[1], 10..500, 20..40), None);
    // the small one is in a pack
    assert_eq!(part(&blocks[2], 10..500, 20..40), None);
    assert_eq!(node.get_part(client.owner(), blocks[0].cid(), None, 0..1, 0..1, &mut Vec::new()).unwrap(), None);
    for block in &blocks {
        assert_eq!(node.get_block(client.owner(), block.cid(), Some(&token)).unwrap().as_ref(), Some(block.data()));
        assert_eq!(node.block_size(client.owner(), block.cid()).unwrap(), Some(block.data().len() as u64));
    }
    // all of it is hashed, and nothing else
    let mut whole = Vec::new();
    let wanted = blocks[..2].iter().map(|block| (block.cid().clone(), Some(token.clone()))).collect::<Vec<_>>();
    assert!(node.get_payloads(client.owner(), &wanted, &mut whole).unwrap());
    assert_eq!(whole[..FRAGMENT], *payload);
    assert!(node.get_payload(client.owner(), blocks[0].cid(), Some(&token), 0..10, &mut whole).unwrap());
    let file = fragment_file(dir.path(), &blocks[0]);
    File::options().write(true).open(&file).unwrap().write_all_at(b"damage", 1000).unwrap();
    assert!(!node.get_payload(client.owner(), blocks[0].cid(), Some(&token), 0..10, &mut whole).unwrap());
    assert!(part(&blocks[0], 0..10, 0..1).is_some(), "nobody compares it");
    fs::remove_file(&file).unwrap();
    assert_eq!(part(&blocks[0], 0..10, 0..1), None);
}

#[test]
fn a_damaged_block_affects_only_itself() {
    let (dir, client, fragments) = store();
    let [changed, short, missing] = [0, 1, 2].map(|i| fragment_file(dir.path(), &fragments[i]));
    File::options().write(true).open(changed).unwrap().write_all_at(b"damage", 1000).unwrap();
    File::options().write(true).open(short).unwrap().set_len(5000).unwrap();
    fs::remove_file(missing).unwrap();
    let node = Arc::new(EmbeddedNode::open(dir.path()).unwrap());
    let verified = Verified::new(Arc::clone(&node) as Arc<dyn Node>, CacheSizes::default());
    let get = |block: &Block| verified.block(client.owner(), block.cid(), None);
    assert!(matches!(get(&fragments[0]), Err(Error::WrongBlock(cid)) if cid == *fragments[0].cid()));
    assert!(matches!(get(&fragments[1]), Err(Error::WrongBlock(cid)) if cid == *fragments[1].cid()));
    assert!(matches!(get(&fragments[2]), Err(Error::MissingBlock(cid)) if cid == *fragments[2].cid()));
    client.commit(&node, &[(map_key(9), Some(entry(9, 10, &[])))], &[]).unwrap();
    // a token that the damaged bytes ask for is not what is wrong
    let other = fragment(7, FRAGMENT, &[client.bat.mirror_id()]);
    fs::write(fragment_file(dir.path(), &fragments[0]), &other.data()[..fragments[0].data().len()]).unwrap();
    assert!(matches!(get(&fragments[0]), Err(Error::WrongBlock(_))));
    assert!(!node.get_payload(client.owner(), fragments[0].cid(), None, 0..9, &mut Vec::new()).unwrap());
    // putting a block again heals it
    let transaction = node.start_transaction(client.owner()).unwrap();
    client.put(&*node, &transaction, &fragments).unwrap();
    client.commit(&node, &[(map_key(10), Some(entry(10, 10, &[])))], &[]).unwrap();
    for block in &fragments {
        assert_eq!(get(block).unwrap(), *block);
    }
}

#[test]
fn damage_in_a_pack_is_found_by_the_hash() {
    let (dir, client, _) = store();
    let pack = dir.path().join("packs/0.pack");
    let bytes = fs::read(&pack).unwrap();
    let victim = noise(1, 3000);
    let at = bytes.windows(100).position(|window| window == &victim[..100]).unwrap();
    File::options().write(true).open(pack).unwrap().write_all_at(b"damage", at as u64).unwrap();
    let node = Arc::new(EmbeddedNode::open(dir.path()).unwrap());
    assert!(client.read(&node, map_key(0)).is_some());
    let verified = Verified::new(Arc::clone(&node) as Arc<dyn Node>, CacheSizes::default());
    let tree = client.data(&node, &client.writer).2.tree.unwrap();
    let cap = crate::ChampCap { map_key: map_key(1), bat: None };
    let cid = verified.lookup(client.owner(), &tree, &[cap]).unwrap().remove(0).unwrap();
    assert!(matches!(verified.block(client.owner(), &cid, None), Err(Error::WrongBlock(_))));
    // garbage cannot be told apart any more, so nothing goes
    client.commit(&node, &[(map_key(2), None)], &[]).unwrap();
    assert_eq!(node.collect_garbage().unwrap(), Default::default());
}

/// A small disk; unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(megabytes: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={megabytes}m");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).status();
        assert!(status.unwrap().success(), "this test mounts a disk, which takes root");
        Self(dir)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_loses_nothing() {
    let disk = SmallDisk::mount(48);
    let dir = disk.0.path().join("store");
    let node = Arc::new(EmbeddedNode::open(&dir).unwrap());
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    let commit = |node: &Arc<EmbeddedNode>, seed: u64| {
        let block = fragment(seed, 1 << 20, &[]);
        client.commit(node, &[(map_key(seed), Some(entry(seed, 100, &[&block])))], &[block])
    };
    let fill_up = |node: &_, first| {
        let (full, error) = (first..).find_map(|seed| Some((seed, commit(node, seed).err()?))).unwrap();
        assert!(matches!(error, Error::DiskFull), "{error}");
        full
    };
    let stored = fill_up(&node, 0);
    assert!(stored > 10);
    for seed in 0..stored {
        assert!(client.read(&node, map_key(seed)).is_some());
    }
    // files no longer fit, but there is room left to delete some; the index may have grown or shrunk meanwhile
    for seed in 0..4 {
        client.commit(&node, &[(map_key(seed), None)], &[]).unwrap();
    }
    node.collect_garbage().unwrap();
    (0..2).for_each(|seed| commit(&node, seed).unwrap());
    let stored = fill_up(&node, stored);
    drop(node);

    // somebody else takes the rest: not a byte is left
    let rest = dir.with_file_name("rest");
    let fill = || assert!(std::io::copy(&mut std::io::repeat(7), &mut File::create(&rest).unwrap()).is_err());
    fill();
    let node = Arc::new(EmbeddedNode::open(&dir).unwrap());
    for seed in (0..2).chain(4..stored) {
        assert!(client.read(&node, map_key(seed)).is_some());
    }
    assert!(matches!(commit(&node, stored), Err(Error::DiskFull)));
    fs::remove_file(&rest).unwrap();
}

#[test]
fn a_commit_that_finds_no_room_can_be_repeated() {
    let disk = SmallDisk::mount(64);
    let dir = disk.0.path().join("store");
    let node = Arc::new(EmbeddedNode::open(&dir).unwrap());
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    // so many that the database must grow to take note of them
    let entries: Vec<Block> = (0..30_000).map(|seed| entry(seed, 10, &[])).collect();
    let changes = entries.iter().zip(0..).map(|(block, seed)| (map_key(seed), Some(block.cid().clone())));
    let (mut blocks, pointer) = client.change(&node, changes.collect());
    blocks.extend_from_slice(&entries);
    let transaction = node.start_transaction(client.owner()).unwrap();
    client.put(&*node, &transaction, &blocks).unwrap();
    let before = client.data(&node, &client.writer).1;

    let rest = dir.with_file_name("rest");
    assert!(std::io::copy(&mut std::io::repeat(7), &mut File::create(&rest).unwrap()).is_err());
    for _ in 0..3 {
        assert!(matches!(node.set_pointer(client.owner(), &pointer), Err(Error::DiskFull)));
        assert_eq!(client.data(&node, &client.writer).1, before);
    }
    fs::remove_file(&rest).unwrap();
    node.set_pointer(client.owner(), &pointer).unwrap();
    for seed in (0..30_000).step_by(1000) {
        assert_eq!(client.read(&node, map_key(seed)).as_ref(), Some(&entries[seed as usize]));
    }
    drop(node);
    let node = Arc::new(EmbeddedNode::open(&dir).unwrap());
    assert!(client.read(&node, map_key(29_999)).is_some());
}

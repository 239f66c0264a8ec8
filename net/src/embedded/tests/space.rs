//! Quota and usage (spec 02 §17, §19.5).

use std::{collections::HashSet, sync::Arc};

use peergos_crypto::{cbor::Value, cid::Codec, signed_time};

use super::{
    super::store::{Batch, BlockId, Table},
    support::*,
};
use crate::{Block, EmbeddedNode, Error, Node, archive::CarReader};

fn usage(node: &EmbeddedNode, client: &Client) -> u64 {
    node.usage(client.owner(), &client.time_auth()).unwrap()
}

/// The bytes of all blocks that an account needs, counted from an export. The empty tree is there for every writer.
fn needed(node: &EmbeddedNode, client: &Client) -> u64 {
    let mut car = Vec::new();
    node.export(&client.username, &mut car, Vec::new()).unwrap();
    CarReader::new(&car[..]).unwrap().map(|block| block.unwrap().data().len() as u64).sum()
}

fn fill(node: &Arc<EmbeddedNode>, client: &Client, seeds: std::ops::Range<u64>) {
    let fragments: Vec<Block> = seeds.clone().map(|seed| fragment(seed, 200_000, &[])).collect();
    let entries: Vec<_> =
        seeds.zip(&fragments).map(|(seed, f)| (map_key(seed), Some(entry(seed, 300, &[f])))).collect();
    client.commit(node, &entries, &fragments).unwrap();
}

#[test]
fn usage_is_what_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let node = Arc::new(EmbeddedNode::open(dir.path()).unwrap());
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    assert_eq!(usage(&node, &client), needed(&node, &client));
    for round in 0..6 {
        fill(&node, &client, round * 15..round * 15 + 15);
        assert_eq!(usage(&node, &client), needed(&node, &client));
    }
    let full = usage(&node, &client);
    assert!(full > 90 * 200_000);
    // several commits between two counts, with additions, changes and removals
    let changed = entry(1000, 10, &[]);
    client.commit(&node, &[(map_key(3), Some(changed))], &[]).unwrap();
    let removed: Vec<_> = (20..80).map(|seed| (map_key(seed), None)).collect();
    client.commit(&node, &removed, &[]).unwrap();
    fill(&node, &client, 200..205);
    assert_eq!(usage(&node, &client), needed(&node, &client));
    assert!(usage(&node, &client) < full);

    // what was put and is not reached yet counts too
    let pending = fragment(7777, 150_000, &[]);
    let transaction = node.start_transaction(client.owner()).unwrap();
    client.put(&*node, &transaction, &[pending]).unwrap();
    assert_eq!(usage(&node, &client), needed(&node, &client) + 150_000);

    let before = needed(&node, &client);
    drop(node);
    let node = Arc::new(EmbeddedNode::open(dir.path()).unwrap());
    assert_eq!(usage(&node, &client), before);
    let (mut car, mut json) = (Vec::new(), Vec::new());
    node.export("alice", &mut car, &mut json).unwrap();
    let (_other_dir, other) = fresh();
    other.import(&car[..], &json[..]).unwrap();
    assert_eq!(usage(&other, &client), before);
}

#[test]
fn a_deleted_account_uses_nothing() {
    let (_dir, node) = fresh();
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    fill(&node, &client, 0..20);
    for key in [&client.writer, &client.identity] {
        let (_, pointer, _) = client.data(&node, key);
        node.set_pointer(client.owner(), &pointer_write(Some(&pointer), None, key)).unwrap();
    }
    assert_eq!(usage(&node, &client), 0);
    assert!(matches!(node.export("alice", Vec::new(), Vec::new()), Err(Error::Refused(_))));
    assert!(node.collect_garbage().unwrap().bytes > 20 * 200_000);
    assert_eq!(node.get_username(client.owner()).unwrap(), "alice", "the name stays taken");
}

#[test]
fn a_full_account_takes_nothing_but_little_changes() {
    let (dir, node) = fresh();
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    fill(&node, &client, 0..20);
    // it was long ago: what is uploaded in a day is another limit
    drop(node);
    let node = Arc::new(EmbeddedNode::open(dir.path()).unwrap());
    let used = usage(&node, &client);
    let quota = used + 1_000_000;
    node.set_quota("alice", Some(quota)).unwrap();
    assert_eq!(node.quota(client.owner(), &client.time_auth()).unwrap(), quota);
    let transaction = node.start_transaction(client.owner()).unwrap();
    let put = |seed, len| client.put(&*node, &transaction, &[fragment(seed, len, &[])]);
    put(100, 900_000).unwrap();
    let error = put(101, 200_000).unwrap_err();
    let expected = Error::QuotaReached { used: used + 900_000, quota, size: 200_000 };
    assert_eq!(error.to_string(), expected.to_string());
    assert!(error.to_string().starts_with("Storage quota reached! \nUsed "));
    // what was put for the refused commit is in vain, and there is a mebibyte of grace, so that a deletion gets through
    put(102, 1_000_000).unwrap();
    put(103, 1_000_000).unwrap();
    assert!(matches!(put(104, 200_000), Err(Error::QuotaReached { .. })));
    let removed: Vec<_> = (0..15).map(|seed| (map_key(seed), None)).collect();
    client.commit(&node, &removed, &[]).unwrap();
    // what was put in vain no longer counts, and there is room again: no more grace, but the quota
    assert_eq!(usage(&node, &client), needed(&node, &client));
    put(105, 900_000).unwrap();
    assert!(matches!(node.set_quota("nobody", None), Err(Error::Refused(_))));
}

#[test]
fn no_more_than_the_quota_is_uploaded_in_a_day() {
    let (_dir, node) = fresh();
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    node.set_quota("alice", Some(1_000_000)).unwrap();
    let block = fragment(1, 300_000, &[]);
    for _ in 0..3 {
        // it is the same block, which takes space once
        client.commit(&node, &[(map_key(1), Some(entry(1, 10, &[&block])))], std::slice::from_ref(&block)).unwrap();
        client.commit(&node, &[(map_key(1), None)], &[]).unwrap();
    }
    let transaction = node.start_transaction(client.owner()).unwrap();
    assert!(usage(&node, &client) < 10_000);
    let error = client.put(&*node, &transaction, &[block]).unwrap_err();
    assert_eq!(error.to_string(), "Upload bandwidth exceeded please try again tomorrow");
}

#[test]
fn a_full_account_has_room_for_what_makes_room() {
    let (_dir, node) = fresh();
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    node.set_quota("alice", Some(1_000_000)).unwrap();
    let transaction = node.start_transaction(client.owner()).unwrap();
    let large = |seed| fragment(seed, 900_000, &[]);
    client.commit(&node, &[(map_key(1), Some(entry(1, 10, &[&large(1)])))], &[large(1)]).unwrap();
    // more than an account that is found to be full may take for little changes
    let blocks = || vec![large(2).sign(&client.writer), large(3).sign(&client.writer)];
    let (owner, writer) = (client.owner(), client.writer.hash());
    for _ in 0..2 {
        let refused = node.put_blocks(owner, writer, &transaction, Codec::Raw, blocks()).unwrap_err();
        assert!(matches!(refused, Error::QuotaReached { .. }));
    }
    node.put_vital_blocks(owner, writer, &transaction, Codec::Raw, blocks()).unwrap();
}

#[test]
fn only_the_identity_is_told() {
    let (_dir, node) = fresh();
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    assert!(node.quota(client.owner(), &client.time_auth()).unwrap() > 1 << 30, "the size of the disk");
    let stale = signed_time::sign(&client.identity, millis() - 310_000);
    let forged = signed_time::sign(&client.writer, millis());
    for auth in [&stale[..], &forged, &[]] {
        assert!(node.quota(client.owner(), auth).is_err());
        assert!(node.usage(client.owner(), auth).is_err());
    }
}

#[test]
fn garbage_goes_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let node = Arc::new(EmbeddedNode::open(dir.path()).unwrap());
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    fill(&node, &client, 0..40);
    let removed: Vec<_> = (0..10).map(|seed| (map_key(seed), None)).collect();
    client.commit(&node, &removed, &[]).unwrap();
    // put and never reached: once under an open transaction, once not
    let (kept, dropped) = (fragment(500, FRAGMENT, &[]), fragment(501, FRAGMENT, &[]));
    let [open, closed] = [(); 2].map(|()| node.start_transaction(client.owner()).unwrap());
    client.put(&*node, &open, std::slice::from_ref(&kept)).unwrap();
    client.put(&*node, &closed, std::slice::from_ref(&dropped)).unwrap();
    node.close_transaction(client.owner(), &closed).unwrap();
    fill(&node, &client, 40..41);
    let collected = node.collect_garbage().unwrap();
    assert!(collected.bytes > 10 * 200_000 + FRAGMENT as u64);
    let get = |block: &Block| node.get_block(client.owner(), block.cid(), None).unwrap();
    assert!(get(&kept).is_some());
    assert!(get(&dropped).is_none());
    for seed in 0..41 {
        assert_eq!(client.read(&node, map_key(seed)).is_some(), seed >= 10);
        assert_eq!(get(&fragment(seed, 200_000, &[])).is_some(), seed >= 10);
    }
    assert_eq!(node.collect_garbage().unwrap(), Default::default());

    // the transaction is still open after a restart
    drop(node);
    let node = Arc::new(EmbeddedNode::open(dir.path()).unwrap());
    fill(&node, &client, 41..42);
    node.collect_garbage().unwrap();
    assert!(node.get_block(client.owner(), kept.cid(), None).unwrap().is_some());
    node.close_transaction(client.owner(), &open).unwrap();
    fill(&node, &client, 42..43);
    node.collect_garbage().unwrap();
    assert!(node.get_block(client.owner(), kept.cid(), None).unwrap().is_none());
}

#[test]
fn an_incomplete_account_keeps_its_garbage() {
    let (_dir, node) = fresh();
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    fill(&node, &client, 0..3);
    let absent = entry(99, 10, &[]);
    let broken = entry(98, 10, &[&absent]);
    let changes = [(map_key(98), Some(broken)), (map_key(1), None)];
    let refused = client.commit(&node, &changes, &[]).unwrap_err();
    assert!(matches!(refused, Error::MissingBlock(cid) if cid == *absent.cid()));
    client.commit(&node, &changes, std::slice::from_ref(&absent)).unwrap();
    let mut batch = Batch::default();
    let account = node.core.accounts.of(client.owner()).unwrap().id;
    batch.delete(Table::Blocks, BlockId::new(account, absent.cid()).unwrap().to_key());
    node.core.kv.commit(&batch).unwrap();
    assert_eq!(node.collect_garbage().unwrap(), Default::default());
    client.commit(&node, &[(map_key(98), None)], &[]).unwrap();
    usage(&node, &client);
    assert!(node.collect_garbage().unwrap().blocks > 0);
}

#[test]
fn packs_that_are_mostly_dead_are_rewritten() {
    let dir = tempfile::tempdir().unwrap();
    let node = Arc::new(EmbeddedNode::open(dir.path()).unwrap());
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    // enough for two packs, in blocks that do not have files of their own
    const LEN: usize = 120_000;
    let count = (300 << 20) / LEN as u64;
    let transaction = node.start_transaction(client.owner()).unwrap();
    let keep: Vec<u64> = (0..count).step_by(100).collect();
    for seed in 0..count {
        client.put(&*node, &transaction, &[fragment(seed, LEN, &[])]).unwrap();
    }
    let kept: Vec<Block> = keep.iter().map(|seed| fragment(*seed, LEN, &[])).collect();
    let all = entry(1, 10, &kept.iter().collect::<Vec<_>>());
    client.commit(&node, &[(map_key(1), Some(all))], &[]).unwrap();
    node.close_transaction(client.owner(), &transaction).unwrap();
    let packs = || {
        let entries = std::fs::read_dir(dir.path().join("packs")).unwrap();
        entries.map(|entry| entry.unwrap().metadata().unwrap().len()).sum::<u64>()
    };
    assert!(packs() > 300 << 20);
    node.collect_garbage().unwrap();
    assert!(packs() < 100 << 20, "{} bytes are left", packs());
    assert!(client.read(&node, map_key(1)).is_some());
    drop(node);
    let node = Arc::new(EmbeddedNode::open(dir.path()).unwrap());
    let found = client.read(&node, map_key(1)).unwrap();
    let links: HashSet<_> = Value::decode(found.data()).unwrap().links().into_iter().cloned().collect();
    assert!(links.iter().all(|cid| cid.codec() == Codec::Raw) && links.len() == kept.len());
}

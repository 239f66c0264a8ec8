//! What no honest writer produces.

use std::sync::Arc;

use peergos_crypto::{
    cbor::Value,
    cid::{Cid, Codec},
};
use proptest::prelude::*;

use super::Store;
use crate::{
    Error,
    champ::{Entry, KeyHasher, MAX_DEPTH, Node, Slot, apply, diff, for_each, get},
};

const HASHER: KeyHasher = KeyHasher::Identity;

fn store(nodes: &[&Node]) -> Store {
    Store(nodes.iter().map(|node| (node.block().cid().clone(), Arc::new((*node).clone()))).collect())
}

fn bucket(keys: &[&[u8]]) -> Slot {
    Slot::bucket(keys.iter().map(|key| Entry { key: (*key).into(), value: Value::Bool(true) }).collect())
}

/// A node with something in one slot.
fn node(at: usize, slot: Slot) -> Node {
    let mut node = Node::default();
    node.slots[at] = slot;
    node
}

#[test]
fn malformed_nodes() {
    for wrong in [
        "80",                                         // not three items
        "8341010180",                                 // a bitmap that is no byte string
        "8341004080",                                 // a bitmap with a trailing zero
        "834201004080",                               // a bitmap of two bytes
        "8341014080",                                 // a bucket too few
        "834040818241aaf5",                           // a bucket too many
        "834101408180",                               // an empty bucket
        "8341014081814100",                           // half a mapping
        "83410140818a4100f54108f54110f54118f54120f5", // five mappings
        "8341014081844100f54100f5",                   // the same key twice
        "8341014081826161f5",                         // a key that is a text
        "83410141018241aaf5",                         // overlapping maps
        "834041018141aa",                             // a child that is no link
        "8341014081f5",                               // a bucket that is no list
        "a1616483404080",                             // map form without BAT ids
        "a1646261747380",                             // map form without a node
        "a26164834040806462617473814100",             // a BAT id that is no CID
    ] {
        assert!(Node::decode(&hex::decode(wrong).unwrap()).is_err(), "{wrong}");
    }
    // such as these, but right
    for right in
        ["83404080", "8341014081824100f5", "8341014081884100f54108f54110f54118f5", "a2616483404080646261747380"]
    {
        let right = hex::decode(right).unwrap();
        assert_eq!(Node::decode(&right).unwrap().encode(), right);
    }
}

#[test]
fn an_old_bucket_out_of_order_reads_and_is_put_in_order() {
    // 0x18 before 0x10, both in slot 0
    let node = Node::decode(&hex::decode("8341014081844118f54110f5").unwrap()).unwrap();
    assert_eq!(node.slots[0], bucket(&[&[0x10], &[0x18]]));
    let root = node.block().cid().clone();
    let store = store(&[&node]);
    assert!(get(&store, &root, &[0x10], HASHER).unwrap().is_some());
    assert!(get(&store, &root, &[0x18], HASHER).unwrap().is_some());
}

#[test]
fn null_reads_as_absent() {
    let tombstone = Entry { key: [8].into(), value: Value::Null };
    let node = node(0, Slot::bucket(vec![tombstone, Entry { key: [16].into(), value: Value::Bool(true) }]));
    let root = node.block().cid().clone();
    let store = store(&[&node]);
    assert_eq!(get(&store, &root, &[8], HASHER).unwrap(), None);
    let mut found = Vec::new();
    for_each(&store, &root, HASHER, &mut |key, _| {
        found.push(key.to_vec());
        Ok(())
    })
    .unwrap();
    assert_eq!(found, [[16]]);
    let without = apply(&store, Some(&root), [([8], None)], HASHER, None).unwrap();
    diff(&store, Some(&root), None, HASHER, &mut |key, _, _| {
        assert_eq!(key, [16]);
        Ok(())
    })
    .unwrap();
    let fresh = apply(&store, None, [([16], Some(Value::Bool(true)))], HASHER, None).unwrap();
    assert_eq!(without.root, fresh.root);
    let never = apply(&store, None, [([16], Some(Value::Bool(true))), ([8], Some(Value::Null))], HASHER, None).unwrap();
    assert_eq!(never.root, fresh.root);
}

#[test]
fn tombstones_count_when_a_bucket_fills() {
    let mut entries: Vec<Entry> = (1..4).map(|i| Entry { key: [8 * i].into(), value: Value::Bool(true) }).collect();
    entries.push(Entry { key: [32].into(), value: Value::Null });
    let root = node(0, Slot::bucket(entries));
    let store = store(&[&root]);
    let applied = apply(&store, Some(root.block().cid()), [([40], Some(Value::Bool(true)))], HASHER, None).unwrap();
    assert_eq!(applied.blocks.len(), 2, "five mappings, one of them null, need a child");
}

#[test]
fn misplaced_keys() {
    let wrong = node(0, bucket(&[&[1]]));
    let above = node(0, Slot::Child(wrong.block().cid().clone()));
    let store = store(&[&wrong, &above]);
    for root in [&wrong, &above] {
        let root = root.block().cid().clone();
        assert_eq!(get(&store, &root, &[1], HASHER).unwrap(), None);
        let visited = for_each(&store, &root, HASHER, &mut |_, _| Ok(()));
        assert!(matches!(visited, Err(Error::Invalid(_))));
        let compared = diff(&store, Some(&root), None, HASHER, &mut |_, _, _| Ok(()));
        assert!(matches!(compared, Err(Error::Invalid(_))));
    }
    let changed = apply(&store, Some(wrong.block().cid()), [([0], Some(Value::Bool(true)))], HASHER, None);
    assert!(matches!(changed, Err(Error::Invalid(_))));
}

#[test]
fn too_deep() {
    // a chain of children longer than any hash
    let mut nodes = vec![node(0, bucket(&[&[0]]))];
    for _ in 0..MAX_DEPTH + 8 {
        let child = nodes.last().unwrap().block().cid().clone();
        nodes.push(node(0, Slot::Child(child)));
    }
    let root = nodes.last().unwrap().block().cid().clone();
    let store = store(&nodes.iter().collect::<Vec<_>>());
    assert!(matches!(get(&store, &root, &[0], HASHER), Err(Error::Invalid(_))));
    assert!(matches!(for_each(&store, &root, HASHER, &mut |_, _| Ok(())), Err(Error::Invalid(_))));
    let change = [(vec![0], Some(Value::Bool(false)))];
    assert!(matches!(apply(&store, Some(&root), change, HASHER, None), Err(Error::Invalid(_))));
}

#[test]
fn many_ways_to_one_node() {
    // eight to the thirtieth ways, to nothing or to one key
    for end in [Node::default(), node(0, bucket(&[&[0]]))] {
        let mut nodes = vec![end];
        for _ in 0..30 {
            let child = Slot::Child(nodes.last().unwrap().block().cid().clone());
            nodes.push(Node { slots: std::array::from_fn(|_| child.clone()), bats: None });
        }
        let root = nodes.last().unwrap().block().cid().clone();
        let store = store(&nodes.iter().collect::<Vec<_>>());
        assert!(matches!(for_each(&store, &root, HASHER, &mut |_, _| Ok(())), Err(Error::Invalid(_))));
    }
}

#[test]
fn colliding_keys() {
    let key = |last: u8| [&[0; 12][..], &[last]].concat();
    let put = |count: u8| {
        let changes = (0..count).map(|i| (key(i), Some(Value::Bool(true))));
        apply(&Store::default(), None, changes, HASHER, None)
    };
    assert!(put(4).is_ok());
    assert!(matches!(put(5), Err(Error::Invalid(_))));
}

#[test]
fn missing_nodes_are_errors() {
    let lost = Cid::of_block(Codec::DagCbor, b"lost");
    let root = node(0, Slot::Child(lost));
    let store = store(&[&root]);
    let root = root.block().cid().clone();
    assert!(matches!(get(&store, &root, &[0], HASHER), Err(Error::MissingBlock(_))));
    assert!(matches!(for_each(&store, &root, HASHER, &mut |_, _| Ok(())), Err(Error::MissingBlock(_))));
    let changed = apply(&store, Some(&root), [([0], None)], HASHER, None);
    assert!(matches!(changed, Err(Error::MissingBlock(_))));
    assert_eq!(get(&store, &root, &[1], HASHER).unwrap(), None);
}

proptest! {
    /// Whatever decodes is a node that encodes to itself.
    #[test]
    fn mutated_nodes(at in 0usize..200, flip in 1u8.., keep in 0usize..200) {
        let mut block = node(3, bucket(&[&[3; 32], &[11; 32], &[19; 31]])).encode();
        let at = at % block.len();
        block[at] ^= flip;
        block.truncate(keep.max(1));
        if let Ok(node) = Node::decode(&block) {
            let encoded = node.encode();
            prop_assert_eq!(Node::decode(&encoded).unwrap(), node);
        }
    }

    #[test]
    fn random_bytes(block in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(node) = Node::decode(&block) {
            prop_assert_eq!(Node::decode(&node.encode()).unwrap(), node);
        }
    }
}

//! `02-champ.json`: every step of every run, and all final nodes byte for byte.

use std::collections::{HashMap, HashSet};

use peergos_crypto::{
    bat,
    cid::{Cid, Codec},
};
use serde_json::Value as Json;

use super::{Store, link};
use crate::champ::{KeyHasher, Node, apply, empty, for_each, get};

fn vectors() -> Json {
    crate::tests::vectors("02-champ.json")
}

fn hasher(name: &str) -> KeyHasher {
    match name {
        "identity" => KeyHasher::Identity,
        "sha256" => KeyHasher::Sha256,
        "blake2b-512" => KeyHasher::Blake2b512,
        other => panic!("unknown hash {other}"),
    }
}

#[test]
fn the_empty_tree() {
    let vector = &vectors()["empty"];
    let block = empty();
    assert_eq!(hex::encode(block.data()), vector["node"]);
    assert_eq!(block.cid().to_string(), vector["cid"].as_str().unwrap());
    assert_eq!(Node::decode(block.data()).unwrap(), Node::default());
}

#[test]
fn every_step_of_every_run() {
    let vectors = vectors();
    let runs = vectors["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 7);
    for run in runs {
        replay(run);
    }
}

fn replay(run: &Json) {
    let hasher = hasher(run["keyHash"].as_str().unwrap());
    let mirror: Option<Cid> = run["mirrorBatId"].as_str().map(|id| id.parse().unwrap());
    let mut store = Store::default();
    let mut expected = HashMap::new();
    let mut root = None;
    for step in run["steps"].as_array().unwrap() {
        let key = |hex: &Json| hex::decode(hex.as_str().unwrap()).unwrap();
        let changes = match step["op"].as_str().unwrap() {
            "init" => vec![],
            "put" => vec![(key(&step["key"]), step["value"].as_str().map(link))],
            "remove" => vec![(key(&step["key"]), None)],
            "removeAll" => step["keys"].as_array().unwrap().iter().map(|k| (key(k), None)).collect(),
            other => panic!("unknown step {other}"),
        };
        for (key, value) in &changes {
            if !step["expected"].is_null() {
                let before = get(&store, root.as_ref().unwrap(), key, hasher).unwrap();
                assert_eq!(before, step["expected"].as_str().map(link));
            }
            match value {
                Some(value) => expected.insert(key.clone(), value.clone()),
                None => expected.remove(key),
            };
        }
        let changed = store.add(apply(&store, root.as_ref(), changes, hasher, mirror.as_ref()).unwrap());
        assert_eq!(changed.to_string(), step["root"].as_str().unwrap(), "{}: {step}", run["name"]);
        if let Some(nodes) = step["nodes"].as_object() {
            same_nodes(&store, &changed, nodes);
        }
        root = Some(changed);
    }
    let root = root.unwrap();
    if let Some(nodes) = run["finalNodes"].as_object() {
        same_nodes(&store, &root, nodes);
    }
    let mut found = HashMap::new();
    for_each(&store, &root, hasher, &mut |key, value| {
        assert!(found.insert(key.to_vec(), value.clone()).is_none());
        Ok(())
    })
    .unwrap();
    assert_eq!(found, expected);
}

/// The tree under `root` has exactly these blocks, and they survive decoding and encoding.
fn same_nodes(store: &Store, root: &Cid, nodes: &serde_json::Map<String, Json>) {
    let mut reached = HashSet::new();
    let mut open = vec![root.clone()];
    while let Some(cid) = open.pop() {
        let block = hex::decode(nodes[&cid.to_string()].as_str().unwrap()).unwrap();
        let node = Node::decode(&block).unwrap();
        assert_eq!(node.encode(), block);
        assert_eq!(Cid::of_block(Codec::DagCbor, &block), cid);
        assert_eq!(*store.0[&cid], node);
        assert_eq!(node.bats.clone().unwrap_or_default(), bat::ids_of_block(Codec::DagCbor, &block).unwrap());
        open.extend(node.slots.iter().filter_map(|slot| slot.child().cloned()));
        reached.insert(cid);
    }
    assert_eq!(reached.len(), nodes.len());
}

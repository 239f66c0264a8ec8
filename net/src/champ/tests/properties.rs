//! Random histories against a plain map: the tree is always the one that a fresh build gives.

use std::collections::{BTreeMap, HashSet};

use peergos_crypto::{
    cbor::Value,
    cid::{Cid, Codec},
};
use proptest::{collection::vec, prelude::*};

use super::Store;
use crate::champ::{KeyHasher, Slot, apply, diff, for_each, get};

type Model = BTreeMap<Vec<u8>, Value>;
type Change = (Vec<u8>, Option<Value>);

fn build(model: &Model, hasher: KeyHasher) -> Cid {
    let changes = model.iter().map(|(key, value)| (key.clone(), Some(value.clone())));
    apply(&Store::default(), None, changes, hasher, None).unwrap().root
}

/// Keys that often share long prefixes, or are shorter than the hash, among random ones.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 32),
        vec(prop_oneof![Just(0u8), Just(8), Just(0xff)], 12..16),
        vec(0u8..4, 1..4),
        (any::<u8>(), 0u8..4).prop_map(|(a, b)| [[a & 7; 8], [b; 8]].concat()),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<[u8; 8]>().prop_map(|bytes| Value::Link(Cid::of_block(Codec::DagCbor, &bytes))),
        (0i64..3).prop_map(Value::Int),
    ]
}

fn hasher() -> impl Strategy<Value = KeyHasher> {
    prop_oneof![Just(KeyHasher::Identity), Just(KeyHasher::Sha256), Just(KeyHasher::Blake2b512)]
}

/// Commits of some changes each, which often meet the same keys again.
fn history() -> impl Strategy<Value = Vec<Vec<Change>>> {
    vec(key(), 1..40).prop_flat_map(|keys| {
        let change = (proptest::sample::select(keys), proptest::option::weighted(0.6, value()));
        vec(vec(change, 0..30), 1..12)
    })
}

/// The CIDs of all nodes of a tree.
fn nodes(store: &Store, root: &Cid) -> HashSet<Cid> {
    let mut found = HashSet::from([root.clone()]);
    for child in store.0[root].slots.iter().filter_map(Slot::child) {
        found.extend(nodes(store, child));
    }
    found
}

fn difference(old: &Model, new: &Model) -> BTreeMap<Vec<u8>, (Option<Value>, Option<Value>)> {
    let keys = old.keys().chain(new.keys());
    keys.filter(|key| old.get(*key) != new.get(*key))
        .map(|key| (key.clone(), (old.get(key).cloned(), new.get(key).cloned())))
        .collect()
}

proptest! {
    #[test]
    fn any_history_gives_the_canonical_tree(hasher in hasher(), history in history()) {
        let mut store = Store::default();
        let mut model = Model::new();
        let mut states: Vec<(Option<Cid>, Model)> = vec![(None, model.clone())];
        for commit in history {
            let before = states.last().unwrap().0.clone();
            for (key, value) in &commit {
                match value {
                    Some(value) => model.insert(key.clone(), value.clone()),
                    None => model.remove(key),
                };
            }
            let applied = apply(&store, before.as_ref(), commit.clone(), hasher, None).unwrap();
            prop_assert_eq!(&applied.root, &build(&model, hasher));
            if before.as_ref() == Some(&applied.root) {
                prop_assert!(applied.blocks.is_empty());
            } else {
                prop_assert_eq!(applied.blocks.last().unwrap().cid(), &applied.root);
            }
            let written: HashSet<Cid> = applied.blocks.iter().map(|block| block.cid().clone()).collect();
            let root = store.add(applied);
            let old = before.map_or_else(HashSet::new, |old| nodes(&store, &old));
            let new = nodes(&store, &root);
            prop_assert_eq!(written, new.difference(&old).cloned().collect::<HashSet<_>>(), "what is new, and no more");
            for (key, _) in commit {
                prop_assert_eq!(get(&store, &root, &key, hasher).unwrap(), model.get(&key).cloned());
            }
            let mut found = Model::new();
            for_each(&store, &root, hasher, &mut |key, value| {
                assert!(found.insert(key.to_vec(), value.clone()).is_none(), "visited twice");
                Ok(())
            }).unwrap();
            prop_assert_eq!(&found, &model);
            states.push((Some(root), model.clone()));
        }
        for (old, old_model) in &states {
            for (new, new_model) in &states {
                let mut found = BTreeMap::new();
                diff(&store, old.as_ref(), new.as_ref(), hasher, &mut |key, old, new| {
                    assert!(found.insert(key.to_vec(), (old.cloned(), new.cloned())).is_none(), "reported twice");
                    Ok(())
                }).unwrap();
                prop_assert_eq!(found, difference(old_model, new_model));
            }
        }
    }
}

/// A change writes the path to it and nothing else.
#[test]
fn a_small_change_in_a_large_tree() {
    let key = |i: u32| Cid::of_block(Codec::Raw, &i.to_be_bytes()).sha256_digest().unwrap().to_vec();
    let mut model: Model = (0..20_000).map(|i| (key(i), Value::Int(i.into()))).collect();
    let mut store = Store::default();
    let all = model.iter().map(|(key, value)| (key.clone(), Some(value.clone())));
    let applied = apply(&store, None, all, KeyHasher::Identity, None).unwrap();
    let root = store.add(applied);
    model.insert(key(7), Value::Int(-1));
    let applied = apply(&store, Some(&root), [(key(7), Some(Value::Int(-1)))], KeyHasher::Identity, None).unwrap();
    assert_eq!(applied.root, build(&model, KeyHasher::Identity));
    let mut nodes: Vec<_> = applied.blocks.iter().collect();
    assert!(nodes.len() <= 7, "{} nodes for one key", nodes.len());
    let top = nodes.pop().unwrap();
    assert_eq!(top.cid(), &applied.root);
    let changed = store.add(applied.clone());
    let children = |cid: &Cid| store.0[cid].slots.iter().filter_map(Slot::child).cloned().collect::<Vec<_>>();
    let (old, new) = (children(&root), children(&changed));
    assert_eq!(old.iter().zip(&new).filter(|(old, new)| old != new).count(), 1);
}

//! Carrying accounts in and out: what is refused, and what a failure leaves.

use std::{
    fs,
    path::Path,
    sync::{Arc, OnceLock},
};

use proptest::prelude::*;
use serde_json::Value as Json;

use super::support::*;
use crate::{
    EmbeddedNode, Error, Node,
    archive::{CarReader, CarWriter},
};

/// An account with some files, as CAR and JSON.
fn exported() -> (Client, Vec<u8>, Vec<u8>) {
    let (_dir, node) = fresh();
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    let large = fragment(1, FRAGMENT, &[]);
    let entries: Vec<_> = (0..20).map(|i| (map_key(i), Some(entry(i, 200, &[&large])))).collect();
    client.commit(&node, &entries, std::slice::from_ref(&large)).unwrap();
    let (mut car, mut json) = (Vec::new(), Vec::new());
    node.export("alice", &mut car, &mut json).unwrap();
    (client, car, json)
}

fn files_in(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files_in(&path) } else { 1 }).sum()
}

#[test]
fn an_export_shows_what_is_committed() {
    let (_dir, node) = fresh();
    assert!(matches!(node.export("alice", Vec::new(), Vec::new()), Err(Error::Refused(_))));
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    let transaction = node.start_transaction(client.owner()).unwrap();
    client.put(&*node, &transaction, &[entry(5, 50, &[])]).unwrap();
    let (mut car, mut json) = (Vec::new(), Vec::new());
    node.export("alice", &mut car, &mut json).unwrap();
    let blocks: Vec<_> = CarReader::new(&car[..]).unwrap().map(Result::unwrap).collect();
    // two WriterData, the champ of owned keys with its proof, and the empty tree
    assert_eq!(blocks.len(), 5);
    let json: Json = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["server_id"], node.id().unwrap().to_string());
}

#[test]
fn what_is_wrong_is_not_imported() {
    let (client, car, json) = exported();
    let dir = tempfile::tempdir().unwrap();
    let node = Arc::new(EmbeddedNode::open(dir.path()).unwrap());
    let state: Json = serde_json::from_slice(&json).unwrap();
    let refused = |car: &[u8], state: &Json| {
        let error = node.import(car, state.to_string().as_bytes()).unwrap_err();
        assert!(node.usernames().is_empty());
        assert_eq!(node.get_public_key("alice").unwrap(), None);
        assert_eq!(files_in(&dir.path().join("blocks")), 0, "files are left over");
        error
    };
    let with = |change: &dyn Fn(&mut Json)| {
        let mut state = state.clone();
        change(&mut state);
        refused(&car, &state)
    };

    // the CAR: cut short, changed, or without one of its blocks
    for cut in [0, 10, car.len() / 2, car.len() - 1] {
        refused(&car[..cut], &state);
    }
    let mut damaged = car.clone();
    *damaged.last_mut().unwrap() ^= 1;
    assert!(matches!(refused(&damaged, &state), Error::WrongBlock(_)));
    let reader = CarReader::new(&car[..]).unwrap();
    let root = reader.root().clone();
    let blocks: Vec<_> = reader.map(Result::unwrap).collect();
    for missing in 0..blocks.len() {
        let mut incomplete = Vec::new();
        let mut writer = CarWriter::new(&mut incomplete, &root).unwrap();
        for (i, block) in blocks.iter().enumerate() {
            if i != missing {
                writer.write(block).unwrap();
            }
        }
        writer.finish().unwrap();
        assert!(matches!(refused(&incomplete, &state), Error::MissingBlock(cid) if cid == *blocks[missing].cid()));
    }
    let mut other_root = Vec::new();
    CarWriter::new(&mut other_root, blocks[1].cid()).unwrap().finish().unwrap();
    refused(&other_root, &state);

    // the state
    let identity = client.owner().to_string();
    let forged = |signed: &str| {
        let mut text = signed.to_owned();
        text.replace_range(4..5, if &signed[4..5] == "A" { "B" } else { "A" });
        text
    };
    let pointer = state["pointers"][&identity].as_str().unwrap();
    let error = with(&|state| state["pointers"][&identity] = forged(pointer).into());
    assert!(matches!(error, Error::Crypto(peergos_crypto::Error::Signature)));
    with(&|state| drop(state["pointers"].as_object_mut().unwrap().remove(&identity)));
    with(&|state| state["username"] = "bob".into());
    with(&|state| state["identity"] = client.writer.hash().to_string().into());
    with(&|state| state["chain_cbor"] = "gA==".into());
    with(&|state| state["bats"][0]["bat"] = "oWFzWCB0HxHsJSSLku6btPyJkxh1QmU4QiDoEVdC/SuiF+xbUA==".into());
    for key in state.as_object().unwrap().keys() {
        with(&|state| drop(state.as_object_mut().unwrap().remove(key)));
        with(&|state| state[key] = Json::Null);
    }

    assert_eq!(node.import(&car[..], &json[..]).unwrap(), "alice");
    assert!(client.read(&node, map_key(3)).is_some());
    // the imported account works here, whatever server its claim names
    client.commit(&node, &[(map_key(100), Some(entry(100, 10, &[])))], &[]).unwrap();
    assert!(client.read(&node, map_key(100)).is_some());
    assert_eq!(node.collect_garbage().unwrap().blocks, 2, "the replaced root and WriterData");
}

#[test]
fn an_interrupted_import_leaves_nothing() {
    let (_, car, json) = exported();
    /// Fails in the middle.
    struct Unplugged<'a>(&'a [u8]);
    impl std::io::Read for Unplugged<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(std::io::Error::other("unplugged")),
                n => Ok(n),
            }
        }
    }
    let (dir, node) = fresh();
    let error = node.import(Unplugged(&car[..car.len() - 10]), &json[..]).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    assert_eq!(files_in(&dir.path().join("blocks")), 0);
    node.import(&car[..], &json[..]).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damaged_files_never_do_harm(at in any::<prop::sample::Index>(), byte in any::<u8>(), in_json in any::<bool>()) {
        static EXPORTED: OnceLock<(Vec<u8>, Vec<u8>)> = OnceLock::new();
        let files = || {
            let (_, car, json) = exported();
            (car, json)
        };
        let (mut car, mut json) = EXPORTED.get_or_init(files).clone();
        let file = if in_json { &mut json } else { &mut car };
        let at = at.index(file.len());
        let changed = std::mem::replace(&mut file[at], byte) != byte;
        let (_dir, node) = fresh();
        match node.import(&car[..], &json[..]) {
            // some bytes of JSON say nothing, and pending requests are nobody's signature
            Ok(name) => prop_assert!(!changed || in_json && name == "alice"),
            Err(_) => prop_assert!(node.usernames().is_empty()),
        }
    }
}

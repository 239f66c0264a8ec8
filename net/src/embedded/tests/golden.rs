//! Accounts written by the reference client, carried in and out.

use std::{collections::HashMap, fs};

use peergos_crypto::cid::Cid;
use serde_json::Value;

use crate::{Block, EmbeddedNode, Error, Node, archive::CarReader};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden");

fn read(file: &str) -> Vec<u8> {
    fs::read(format!("{GOLDEN}/{file}")).unwrap()
}

fn blocks(car: &[u8]) -> (Cid, HashMap<Cid, Block>) {
    let reader = CarReader::new(car).unwrap();
    let root = reader.root().clone();
    let blocks: Vec<Block> = reader.map(Result::unwrap).collect();
    let count = blocks.len();
    let by_cid: HashMap<Cid, Block> = blocks.into_iter().map(|block| (block.cid().clone(), block)).collect();
    assert_eq!(by_cid.len(), count, "a block is there twice");
    (root, by_cid)
}

fn json(text: &[u8]) -> Value {
    serde_json::from_slice(text).unwrap()
}

fn export(node: &EmbeddedNode, username: &str) -> (Vec<u8>, Vec<u8>) {
    let (mut car, mut state) = (Vec::new(), Vec::new());
    node.export(username, &mut car, &mut state).unwrap();
    (car, state)
}

#[test]
fn what_is_imported_is_exported() {
    let dir = tempfile::tempdir().unwrap();
    let first = EmbeddedNode::open(&dir.path().join("first")).unwrap();
    for username in ["ada", "bob"] {
        let (car, state) = (read(&format!("{username}.car")), read(&format!("{username}.json")));
        assert_eq!(first.import(&car[..], &state[..]).unwrap(), username);
        let (exported, exported_state) = export(&first, username);
        assert_eq!(json(&exported_state), json(&state));
        assert!(blocks(&exported) == blocks(&car), "the blocks differ");

        let second = EmbeddedNode::open(&dir.path().join("second")).unwrap();
        second.import(&exported[..], &exported_state[..]).unwrap();
        let (again, again_state) = export(&second, username);
        assert_eq!(again_state, exported_state);
        assert!(blocks(&again) == blocks(&car), "the blocks differ");
    }
    assert_eq!(first.usernames(), ["ada", "bob"]);
    let twice = first.import(&read("ada.car")[..], &read("ada.json")[..]);
    assert!(matches!(twice, Err(Error::Refused(_))), "{twice:?}");
    assert_eq!(first.get_chain("nobody").unwrap(), [0x80]);
}

//! WriterData of `02-pointers-writerdata.json` and `01-account.json`.

use peergos_crypto::{
    cbor::Value,
    cid::{Cid, Codec},
    signing::KeyHash,
};
use proptest::prelude::*;
use serde_json::Value as Json;

use super::{bytes, cbor, key, vectors};
use crate::{Error, WriterData};

fn known() -> Vec<Json> {
    vectors("02-pointers-writerdata.json")["writerData"].as_array().unwrap().clone()
}

#[test]
fn known_answers() {
    for vector in known() {
        let encoded = bytes(&vector["cbor"]);
        let data = WriterData::from_cbor(cbor(&vector["cbor"])).unwrap();
        assert!(data.unknown.is_empty());
        let block = data.block();
        assert_eq!(block.data()[..], encoded);
        assert_eq!(block.cid().to_string(), vector["cid"].as_str().unwrap());
        assert_eq!(WriterData::decode(&encoded, &data.controller).unwrap(), data);
        assert!(matches!(WriterData::decode(&encoded, key("login").hash()), Err(Error::Invalid(_))));
        assert_eq!(hex::encode(block.sign(&key("owner")).attached()), vector["signedHashByOwner"]);
    }
}

#[test]
fn from_its_fields() {
    let known = known();
    let (owner, writer) = (key("owner"), key("writer"));
    let field = |i: usize, name: &str| cbor(&known[i]["cbor"]).as_map("").unwrap().get(name).cloned();
    let link = |i: usize, name: &str| field(i, name).map(|link| link.as_link("").unwrap().clone());
    let identity = WriterData {
        owned: link(0, "owned"),
        inbound: link(0, "inbound").map(|cid| KeyHash::from_cid(cid).unwrap()),
        algorithm: field(0, "algorithm"),
        ..WriterData::new(owner.hash().clone())
    };
    let space = WriterData { tree: link(1, "tree"), owned: link(1, "owned"), ..WriterData::new(writer.hash().clone()) };
    let random = WriterData { algorithm: field(3, "algorithm"), ..WriterData::new(writer.hash().clone()) };
    for (data, i) in [(identity, 0), (space, 1), (random, 3)] {
        assert_eq!(hex::encode(data.to_cbor().encode()), known[i]["cbor"]);
    }
}

#[test]
fn all_fields() {
    let data = WriterData::from_cbor(cbor(&known()[2]["cbor"])).unwrap();
    assert!(data.tree.is_some() && data.owned.is_some() && data.public.is_some() && data.links.is_some());
    assert!(data.inbound.is_some() && data.algorithm.is_some() && data.static_data.is_none());
    assert!(data.named.contains_key("pki"));
    for proof in data.named.values() {
        proof.verify(&data.controller).unwrap();
    }
}

/// The data of two accounts, one of them with its entry points in `static`.
#[test]
fn of_real_accounts() {
    let mut with_static = 0;
    for account in vectors("01-account.json").as_object().unwrap().values() {
        let blocks = account["blocks"].as_object().unwrap();
        let controlled = |block: &&Json| cbor(block).as_map("").is_ok_and(|map| map.get("controller").is_some());
        let mut count = 0;
        for block in blocks.values().filter(controlled) {
            let data = WriterData::from_cbor(cbor(block)).unwrap();
            assert_eq!(data.to_cbor().encode(), bytes(block));
            with_static += usize::from(data.static_data.is_some());
            count += 1;
        }
        assert_eq!(count, 2);
    }
    assert_eq!(with_static, 1);
}

#[test]
fn what_clients_keep_of_it() {
    let vector = &vectors("02-pointers-writerdata.json")["committedWriterDataCbor"];
    let committed = cbor(vector);
    let inner = committed.as_map("").unwrap().get("p").unwrap();
    assert_eq!(WriterData::from_cbor(inner.clone()).unwrap().to_cbor(), *inner);
}

#[test]
fn unknown_fields_stay() {
    let Value::Map(mut map) = cbor(&known()[1]["cbor"]) else { panic!("not a map") };
    map.insert("zz", 7i64);
    map.insert("future", vec![Value::Null, "x".into()]);
    let mut data = WriterData::from_cbor(map.clone().into()).unwrap();
    assert_eq!(data.to_cbor(), map.clone().into());
    data.tree = None;
    map.remove("tree");
    assert_eq!(data.to_cbor(), map.into());
}

#[test]
fn malformed() {
    let Value::Map(good) = cbor(&known()[2]["cbor"]) else { panic!("not a map") };
    for field in ["controller", "tree", "owned", "public", "links", "inbound", "named"] {
        let mut map = good.clone();
        map.insert(field, "text");
        assert!(WriterData::from_cbor(map.into()).is_err(), "{field}");
    }
    let mut map = good.clone();
    map.remove("controller");
    assert!(WriterData::from_cbor(map.into()).is_err());
    let mut map = good;
    map.insert("controller", Cid::of_block(Codec::Raw, b"no key"));
    assert!(WriterData::from_cbor(map.into()).is_err());
    assert!(WriterData::from_cbor(Value::Null).is_err());
}

proptest! {
    #[test]
    fn mutated(at in 0usize..800, byte: u8) {
        let mut data = bytes(&known()[2]["cbor"]);
        let at = at % data.len();
        data[at] = byte;
        if let Ok(data) = Value::decode(&data).map_err(Error::from).and_then(WriterData::from_cbor) {
            let again = WriterData::from_cbor(Value::decode(&data.to_cbor().encode()).unwrap()).unwrap();
            prop_assert_eq!(again, data);
        }
    }
}

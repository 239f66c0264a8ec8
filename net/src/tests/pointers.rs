//! Pointer updates of `02-pointers-writerdata.json`.

use peergos_crypto::{
    cbor::Value,
    cbor_map,
    cid::{Cid, Codec},
};
use proptest::prelude::*;
use serde_json::Value as Json;

use super::{bytes, cbor, key, signer, vectors};
use crate::{Error, PointerUpdate, PointerWrite};

fn pointers() -> Json {
    vectors("02-pointers-writerdata.json")
}

fn target(text: &Json) -> Option<Cid> {
    (text != "EMPTY").then(|| text.as_str().unwrap().parse().unwrap())
}

#[test]
fn updates() {
    let writer = key("writer");
    for vector in pointers()["pointerUpdates"].as_array().unwrap() {
        let update = PointerUpdate {
            original: target(&vector["original"]),
            updated: target(&vector["updated"]),
            sequence: vector["sequence"].as_u64(),
        };
        let encoded = bytes(&vector["cbor"]);
        assert_eq!(update.to_cbor().encode(), encoded);
        assert_eq!(PointerUpdate::from_cbor(&cbor(&vector["cbor"])).unwrap(), update);

        let signed = bytes(&vector["signedByWriter"]);
        assert_eq!(update.sign(&writer), signed);
        assert_eq!(PointerUpdate::open(&signed, &writer.public()).unwrap(), update);
        assert!(PointerUpdate::open(&signed, &key("owner").public()).is_err());
        for at in 0..signed.len() {
            let mut wrong = signed.clone();
            wrong[at] ^= 4;
            assert!(PointerUpdate::open(&wrong, &writer.public()).is_err(), "byte {at}");
        }
    }
    for (_, hex) in vectors("01-mfa-pki.json")["pointer_update"].as_object().unwrap() {
        assert_eq!(PointerUpdate::from_cbor(&cbor(hex)).unwrap().to_cbor().encode(), bytes(hex));
    }
}

#[test]
fn the_next_update() {
    let cid = |i: u8| Cid::of_block(Codec::DagCbor, &[i]);
    let first = PointerUpdate::next(None, Some(cid(1)));
    assert_eq!(first, PointerUpdate { original: None, updated: Some(cid(1)), sequence: Some(1) });
    let second = PointerUpdate::next(Some(&first), Some(cid(2)));
    assert_eq!(second, PointerUpdate { original: Some(cid(1)), updated: Some(cid(2)), sequence: Some(2) });
    let legacy = PointerUpdate { sequence: None, ..second.clone() };
    assert_eq!(PointerUpdate::next(Some(&legacy), None).sequence, Some(1));
    let deleted = PointerUpdate::next(Some(&second), None);
    assert_eq!(deleted, PointerUpdate { original: Some(cid(2)), updated: None, sequence: Some(3) });
    let again = PointerUpdate::next(Some(&deleted), Some(cid(3)));
    assert_eq!(again, PointerUpdate { original: None, updated: Some(cid(3)), sequence: Some(4) });
}

#[test]
fn malformed_updates() {
    let writer = key("writer");
    for wrong in
        ["80", "81f6", "82f6f6", "83f6f601", "84f64101f600", "a0", "82f64101", "83f65824017112204bf5f6", "82f6d82a4100"]
    {
        let wrong = hex::decode(wrong).unwrap();
        assert!(PointerUpdate::open(&writer.sign(&wrong), &writer.public()).is_err());
    }
    let mut update = pointers()["pointerUpdates"][1]["cbor"].as_str().map(|hex| hex::decode(hex).unwrap()).unwrap();
    update.extend([0; 6]);
    assert_eq!(writer.sign(&update).len(), 148);
    let too_long = PointerUpdate::open(&writer.sign(&update), &writer.public());
    assert!(matches!(too_long, Err(Error::Invalid(_))));
    assert!(PointerUpdate::open(&[], &writer.public()).is_err());
}

#[test]
fn several_at_once() {
    let vector = &pointers()["multiWriterCommit"];
    let commit = cbor(&vector["cbor"]);
    let writes = commit.as_map("").unwrap().get("p").unwrap().as_array("").unwrap();
    let writes: Vec<_> = writes.iter().map(|write| PointerWrite::from_cbor(write).unwrap()).collect();
    for (write, expected) in writes.iter().zip(vector["entries"].as_array().unwrap()) {
        assert_eq!(write.writer.to_string(), expected["writer"].as_str().unwrap());
        assert_eq!(hex::encode(&write.signed), expected["signed"]);
        PointerUpdate::open(&write.signed, &signer(&write.writer)).unwrap();
    }
    let again = cbor_map! { "p" => writes.iter().map(PointerWrite::to_cbor).collect::<Vec<Value>>() };
    assert_eq!(again.encode(), bytes(&vector["cbor"]));
}

#[test]
fn conflicts_in_the_words_of_the_reference() {
    let vectors = pointers();
    let update = &vectors["pointerUpdates"][1];
    let (existing, claimed) = (target(&update["original"]), target(&update["updated"]));
    let errors = [
        Error::PointerCas { existing, sequence: Some(5), claimed: claimed.clone() },
        Error::PointerCas { existing: None, sequence: None, claimed },
    ];
    for (error, text) in errors.iter().zip(vectors["pointerCasErrors"].as_array().unwrap()) {
        assert_eq!(error.to_string(), text.as_str().unwrap());
    }
}

proptest! {
    #[test]
    fn mutated_updates(which in 0usize..4, at in 0usize..80, byte: u8, keep in 0usize..90) {
        let mut update = bytes(&pointers()["pointerUpdates"][which]["cbor"]);
        let at = at % update.len();
        update[at] = byte;
        update.truncate(keep);
        let read = Value::decode(&update).map_err(Error::from).and_then(|value| PointerUpdate::from_cbor(&value));
        if let Ok(update) = read {
            let again = Value::decode(&update.to_cbor().encode()).unwrap();
            prop_assert_eq!(PointerUpdate::from_cbor(&again).unwrap(), update);
        }
    }
}

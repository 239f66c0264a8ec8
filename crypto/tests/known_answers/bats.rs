use peergos_crypto::{
    bat::{Bat, BatWithId, authorises, ids_of_block, ids_to_cbor, raw_prefix, split_raw},
    bat_auth::{BlockAuth, PackedTime},
    cbor::Value,
    cid::{Cid, Codec},
};
use serde_json::Value as Json;

use crate::{Field, vectors};

fn id_cbor(id: &Cid) -> Value {
    Value::Bytes(id.to_bytes())
}

fn check_with_id(bat: &BatWithId, cbor: &Json, text: &Json) {
    assert_eq!(bat.to_cbor(), cbor.cbor());
    assert_eq!(&BatWithId::from_cbor(&cbor.cbor()).unwrap(), bat);
    assert_eq!(bat.to_text(), text.text());
    assert_eq!(&BatWithId::from_text(text.text()).unwrap(), bat);
}

fn mirror(bat: &Bat) -> BatWithId {
    BatWithId { id: bat.mirror_id(), bat: bat.clone() }
}

#[test]
fn encodings() {
    let case = &vectors("01-crypto")["bats"];
    let bat = Bat::from_bytes(case["secret"].array());
    assert_eq!(bat.to_cbor(), case["bat_cbor"].cbor());
    assert_eq!(Bat::from_cbor(&case["bat_cbor"].cbor()).unwrap(), bat);
    assert_eq!(bat.mirror_id().to_string(), case["mirror_bat_id_sha256_of_secret"].text());
    assert_eq!(id_cbor(&bat.mirror_id()), case["mirror_bat_id_cbor"].cbor());
    assert_eq!(id_cbor(&bat.inline_id()), case["inline_bat_id_cbor"].cbor());
    assert_eq!(bat.chunk_id().to_string(), case["fragment_bat_id_calculateId_sha256_of_cbor"].text());
    check_with_id(&mirror(&bat), &case["bat_with_id_cbor"], &case["bat_with_id_string"]);
    assert_eq!(bat.to_text(), case["bat_string"].text());
    assert_eq!(Bat::from_text(case["bat_string"].text()).unwrap(), bat);
    assert_eq!(raw_prefix(&[bat.inline_id()]), case["raw_block_prefix_no_mirror"].bytes());

    let file = vectors("02-bats");
    let case = &file["inlineBat"];
    let bat = Bat::from_bytes(case["secret"].array());
    assert_eq!(bat.inline_id().to_string(), case["inlineBatIdString"].text());
    assert_eq!(bat.chunk_id().to_string(), case["calculatedId_sha256_of_cbor"].text());
    check_with_id(&bat.with_chunk_id(), &case["batWithIdCbor"], &case["batWithIdEncoded"]);
    let case = &file["mirrorBat"];
    let bat = Bat::from_bytes(case["secret"].array());
    assert_eq!(bat.mirror_id().to_string(), case["mirrorId_sha256_of_secret"].text());
    check_with_id(&mirror(&bat), &case["batWithIdCbor"], &case["batWithIdEncoded"]);
    assert_eq!(bat.to_text(), case["httpBatParam"].text());

    let case = &vectors("cryptree-structures")["bat"];
    let bat = Bat::from_bytes(case["secret"].array());
    assert_eq!(bat.chunk_id().to_bytes(), case["chunkBatId_sha256ofCbor"].bytes());
    check_with_id(&bat.with_chunk_id(), &case["batWithIdCbor"], &case["batWithIdString"]);
    let mirror = Bat::from_bytes(case["mirrorSecret"].array());
    assert_eq!(raw_prefix(&[bat.inline_id()]), case["rawPrefixNoMirror"].bytes());
    assert_eq!(raw_prefix(&[bat.inline_id(), mirror.mirror_id()]), case["rawPrefixWithMirror"].bytes());
}

#[test]
fn ids_in_blocks() {
    let file = vectors("02-bats");
    let inline = Bat::from_bytes(file["inlineBat"]["secret"].array());
    let ids = [inline.inline_id(), Bat::from_bytes(file["mirrorBat"]["secret"].array()).mirror_id()];
    assert_eq!(raw_prefix(&ids[..1]), file["rawPrefixInlineOnly"].bytes());
    assert_eq!(raw_prefix(&ids), file["rawPrefixInlineAndMirror"].bytes());

    let block = file["rawBlock"].bytes();
    assert_eq!(Cid::of_block(Codec::Raw, &block).to_string(), file["rawBlockCid"].text());
    assert_eq!(split_raw(&block).unwrap(), (ids.to_vec(), &file["rawBlockStripped"].bytes()[..]));
    let texts: Vec<String> = ids_of_block(Codec::Raw, &block).unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(texts, file["rawBlockBats"].items().iter().map(Field::text).collect::<Vec<_>>());
    assert_eq!([raw_prefix(&ids), file["rawBlockStripped"].bytes()].concat(), block);

    let block = file["cborBlock"].bytes();
    assert_eq!(Cid::of_block(Codec::DagCbor, &block).to_string(), file["cborBlockCid"].text());
    let found = ids_of_block(Codec::DagCbor, &block).unwrap();
    assert_eq!(Some(&ids_to_cbor(&found)), file["cborBlock"].cbor().as_map("block").unwrap().get("bats"));
    assert!(!found.is_empty());
}

#[test]
fn who_may_retrieve() {
    let file = vectors("02-bats");
    let [inline, mirror] = ["inlineBat", "mirrorBat"].map(|name| Bat::from_bytes(file[name]["secret"].array()));
    let ids = ids_of_block(Codec::Raw, &file["rawBlock"].bytes()).unwrap();
    let with_mirror_id = BatWithId { id: mirror.mirror_id(), bat: mirror };
    for token in [inline.with_chunk_id(), with_mirror_id.clone()] {
        assert!(authorises(&ids, Some(&token)));
        assert!(authorises(&[], Some(&token)));
    }
    assert!(!authorises(&ids[..1], Some(&with_mirror_id)));
    assert!(!authorises(&ids[1..], Some(&inline.with_chunk_id())));
    // what counts is the secret, not the id beside it
    let posing = BatWithId { bat: Bat::generate().unwrap(), id: with_mirror_id.id.clone() };
    for token in [None, Some(&posing)] {
        assert!(!authorises(&ids, token));
        assert!(authorises(&[], token));
    }
}

#[test]
fn public_blocks() {
    assert_eq!(ids_of_block(Codec::Raw, b"legacy fragment").unwrap(), []);
    assert_eq!(ids_of_block(Codec::DagCbor, &hex::decode("83404080").unwrap()).unwrap(), []);
    assert_eq!(ids_of_block(Codec::DagCbor, &hex::decode("a1617801").unwrap()).unwrap(), []);
    assert!(ids_of_block(Codec::DagCbor, &hex::decode("a164626174731801").unwrap()).is_err());
    assert!(ids_of_block(Codec::Raw, &[&peergos_crypto::bat::RAW_MAGIC[..], &[0xff]].concat()).is_err());
}

#[test]
fn ids_in_requests() {
    let bat = Bat::generate().unwrap();
    let inline = BatWithId { id: bat.inline_id(), bat: bat.clone() };
    assert!(BatWithId::from_cbor(&inline.to_cbor()).is_err());
    let cbor = BatWithId { id: Cid::of_block(Codec::DagCbor, b""), bat };
    assert!(BatWithId::from_cbor(&cbor.to_cbor()).is_err());
}

/// `20220419T080534Z`
fn packed(text: &str) -> PackedTime {
    let field = |range: std::ops::Range<usize>| text[range].parse().unwrap();
    PackedTime::new(field(0..4), field(4..6), field(6..8), field(9..11), field(11..13), field(13..15)).unwrap()
}

#[test]
fn authorisations() {
    let cases = vectors("02-bats")["auths"].clone();
    assert_eq!(cases.items().len(), 4);
    for case in cases.items() {
        let cid = |name: &str| case[name].text().parse::<Cid>().unwrap();
        let time = packed(case["datetime"].text());
        assert_eq!(time.to_string(), case["datetime"].text());
        let bat = BatWithId { bat: Bat::from_bytes(case["batSecret"].array()), id: cid("batId") };
        let auth = BlockAuth::sign(&bat, &cid("block"), &cid("sourceNode"), time);
        assert_eq!(auth.to_cbor(), case["authCbor"].cbor());
        let auth = BlockAuth::from_cbor(&case["authCbor"].cbor()).unwrap();
        assert_eq!(u64::from(auth.expiry), case["expirySeconds"].number());
        assert_eq!(auth.time, time);
        assert!(auth.verifies(&bat.bat, &cid("block"), &cid("sourceNode")));
        assert!(!auth.verifies(&bat.bat, &cid("batId"), &cid("sourceNode")));
        assert!(!auth.verifies(&bat.bat, &cid("block"), &cid("block")));
        assert!(!auth.verifies(&Bat::from_bytes([0; 32]), &cid("block"), &cid("sourceNode")));
    }
}

#[test]
fn packed_times() {
    for text in ["20000101T000000Z", "20311231T235959Z", "20320101T000000Z", "20631231T235959Z"] {
        assert_eq!(packed(text).to_string(), text);
    }
    for (month, day, hour, minute, second) in [
        (0, 1, 0, 0, 0),
        (13, 1, 0, 0, 0),
        (1, 0, 0, 0, 0),
        (1, 32, 0, 0, 0),
        (1, 1, 24, 0, 0),
        (1, 1, 0, 60, 0),
        (1, 1, 0, 0, 60),
    ] {
        assert!(PackedTime::new(2026, month, day, hour, minute, second).is_err());
    }
    assert!(PackedTime::new(1999, 1, 1, 0, 0, 0).is_err() && PackedTime::new(2064, 1, 1, 0, 0, 0).is_err());
}

use peergos_crypto::{
    cid::{Cid, Codec, MAX_IDENTITY_READ},
    multibase, varint,
};
use serde_json::Value as Json;

use crate::{Field, vectors};

fn codec(name: &str) -> Codec {
    match name {
        "Raw" => Codec::Raw,
        "DagProtobuf" => Codec::DagPb,
        "DagCbor" | "identity ed25519 key dag-cbor" => Codec::DagCbor,
        "LibP2pKey" => Codec::LibP2pKey,
        other => panic!("unknown codec {other}"),
    }
}

fn check(case: &Json, cid: &Cid) {
    assert_eq!(cid.to_bytes(), case["bytes"].bytes());
    assert_eq!(&Cid::from_bytes(&case["bytes"].bytes()).unwrap(), cid);
    assert_eq!(cid.to_string(), case["string"].text());
    assert_eq!(cid.codec(), codec(case["codec"].text()));
    if let Some(bare) = case.get("bare_base58") {
        assert_eq!(multibase::base58_encode(&cid.multihash()), bare.text());
    }
}

#[test]
fn cids() {
    let cases = vectors("01-cid")["cids"].clone();
    assert_eq!(cases.items().len(), 6);
    for case in cases.items() {
        let cid: Cid = case["string"].text().parse().unwrap();
        check(case, &cid);
        match (case.get("digest"), case.get("base32")) {
            (Some(digest), Some(base32)) => {
                assert_eq!(cid.sha256_digest().unwrap()[..], digest.bytes());
                assert_eq!(cid, base32.text().parse().unwrap());
            }
            _ => assert!(cid.sha256_digest().is_none()),
        }
    }
    let key = case_named(&cases, "identity ed25519 key dag-cbor");
    let cid: Cid = key["string"].text().parse().unwrap();
    assert_eq!(cid.identity_content().unwrap(), &key["bytes"].bytes()[4..]);
    assert_eq!(Cid::identity(Codec::DagCbor, &key["bytes"].bytes()[4..]).unwrap(), cid);
}

fn case_named<'a>(cases: &'a Json, codec: &str) -> &'a Json {
    cases.items().iter().find(|case| case["codec"] == codec).unwrap()
}

#[test]
fn peer_ids() {
    let cases = vectors("01-cid")["peer_ids"].clone();
    assert_eq!(cases.items().len(), 7);
    for case in cases.items() {
        check(case, &Cid::from_peer_id(case["in"].text()).unwrap());
    }
    let node = &vectors("02-keys-cids-cbor")["nodeId"];
    let cid = Cid::from_peer_id(node["bareBase58"].text()).unwrap();
    assert_eq!(cid.to_string(), node["cidV1String"].text());
    assert_eq!(multibase::base58_encode(&cid.to_bytes()), node["cidV1Base58NoMultibase"].text());
    assert_eq!(cid.to_bytes(), node["cidBytes"].bytes());
}

#[test]
fn malformed() {
    let cases = vectors("01-cid")["cid_decode"].clone();
    assert_eq!(cases.items().len(), 10);
    for case in cases.items() {
        let decoded = Cid::from_bytes(&case["in"].bytes());
        assert_eq!(decoded.is_ok(), case["ok"] == true, "{}", case["in"]);
        if let Ok(cid) = decoded {
            assert_eq!(cid.to_string(), case["string"].text());
            assert_eq!(cid.to_bytes(), case["reencoded"].bytes());
        }
    }
}

#[test]
fn explicit_version_zero_is_the_bare_multihash() {
    let hash = [&[0x12, 0x20][..], &[7; 32]].concat();
    let explicit = Cid::from_bytes(&[&[0, 0x70][..], &hash].concat()).unwrap();
    assert_eq!(explicit, Cid::from_bytes(&hash).unwrap());
    assert!(explicit.to_string().starts_with("Qm"));
    assert!(Cid::from_bytes(&[&[0, 0x55][..], &hash].concat()).is_err());
}

#[test]
fn multibases() {
    let cases = vectors("01-cid")["multibase"].clone();
    assert_eq!(cases.items().len(), 25);
    for case in cases.items() {
        assert_eq!(multibase::decode(case["string"].text()).unwrap(), case["data"].bytes(), "{case}");
        if case["base"] == "Base58BTC" {
            assert_eq!(multibase::encode(&case["data"].bytes()), case["string"].text());
        }
    }
}

#[test]
fn varints() {
    let cases = vectors("01-cid")["varint"].clone();
    assert_eq!(cases.items().len(), 9);
    for case in cases.items() {
        let mut written = Vec::new();
        varint::write(case["n"].number(), &mut written);
        assert_eq!(written, case["bytes"].bytes());
        assert_eq!(varint::read(&written).unwrap(), (case["n"].number(), &[][..]));
    }
}

#[test]
fn block_cids() {
    let file = vectors("02-keys-cids-cbor");
    for (case, codec) in [(&file["dagCborCid"], Codec::DagCbor), (&file["rawCid"], Codec::Raw)] {
        let cid = Cid::of_block(codec, &case["block"].bytes());
        assert_eq!(cid.to_string(), case["cidString"].text());
        assert_eq!(cid.to_bytes(), case["cidBytes"].bytes());
        assert!(cid.verifies(&case["block"].bytes()) && !cid.verifies(b"another"));
        assert_eq!(multibase::base32_upper(&cid.to_bytes()), case["blockStoreKey"].text());
    }
    let link = peergos_crypto::cbor::Value::Link(file["dagCborCid"]["cidString"].text().parse().unwrap());
    assert_eq!(link.encode(), file["dagCborCid"]["linkCbor"].bytes());
}

#[test]
fn identity_lengths() {
    assert!(Cid::identity(Codec::Raw, &[0; 36]).is_ok());
    assert!(Cid::identity(Codec::Raw, &[0; 37]).is_err());
    for (len, readable) in [(37, true), (MAX_IDENTITY_READ, true), (MAX_IDENTITY_READ + 1, false)] {
        let mut bytes = vec![1, 0x55, 0];
        varint::write(len as u64, &mut bytes);
        bytes.resize(bytes.len() + len, 0xab);
        assert_eq!(Cid::from_bytes(&bytes).is_ok(), readable, "{len}");
    }
}

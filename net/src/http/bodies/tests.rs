//! Bodies of the reference, byte for byte, in both directions.

use bytes::Bytes;
use peergos_crypto::{
    cbor::Value,
    cbor_map,
    cid::{Cid, Codec},
    signing::SecretSigningKey,
    totp::Totp,
};
use proptest::prelude::*;
use serde_json::Value as Json;

use super::*;
use crate::{
    Admission, Block, Error, PointerUpdate, PointerWrite, SignedBlock,
    login::LoginResponse,
    mfa::{BackupCodes, MfaAnswer, MfaRequest, MfaResponse, normalise_backup_code},
    quota::{LinkCount, PaymentProperties, SpaceRequest},
};

fn vectors() -> Vec<Json> {
    let text = include_str!("../../../../tests/vectors/02-http-bodies.json");
    serde_json::from_str(text).unwrap()
}

/// A field of the first vector whose name begins so.
fn vector(name: &str, field: &str) -> Vec<u8> {
    let vectors = vectors();
    let vector = vectors.iter().find(|vector| vector["name"].as_str().unwrap().starts_with(name)).unwrap();
    hex::decode(vector[field].as_str().unwrap()).unwrap()
}

fn text(name: &str, field: &str) -> String {
    let vectors = vectors();
    let vector = vectors.iter().find(|vector| vector["name"].as_str().unwrap().starts_with(name)).unwrap();
    vector[field].as_str().unwrap().to_owned()
}

fn cbor(name: &str) -> Value {
    Value::decode_canonical(&vector(name, "cbor")).unwrap()
}

#[test]
fn blocks() {
    let body = vector("BlockWriteGroup", "cbor");
    let blocks = read_block_group(Codec::DagCbor, &body).unwrap();
    assert_eq!(blocks.len(), 2);
    assert_eq!(block_group(&blocks), body);

    let cids: Vec<Cid> = blocks.iter().map(|signed| signed.block.cid().clone()).collect();
    let reply = hashes(&cids);
    assert_eq!(reply.len(), 2 * 60);
    assert_eq!(read_hashes(reply.as_bytes()).unwrap(), cids);
    assert!(read_hashes(b"{\"Hash\":1}").is_err());
    assert_eq!(read_size(size(7).as_bytes()).unwrap(), 7);
    assert_eq!(size(0), r#"{"Size":0}"#);
}

/// The smallest items there are for the size of the body: the most that a server has to hold.
#[test]
fn the_largest_bodies() {
    let key = SecretSigningKey::from_seed(&[1; 32]);
    let blocks: Vec<SignedBlock> = (0..20_000).map(|_| Block::new(Codec::Raw, vec![]).sign(&key)).collect();
    let body = block_group(&blocks);
    assert!(body.len() > 1 << 20);
    assert_eq!(read_block_group(Codec::Raw, &body).unwrap().len(), blocks.len());
    let update = PointerUpdate::next(None, Some(key.hash().cid().clone())).sign(&key);
    let writes = vec![PointerWrite { writer: key.hash().clone(), signed: update }; 6000];
    let body = pointers(&writes);
    assert!(body.len() < 1 << 20);
    assert_eq!(read_pointers(&body).unwrap().len(), writes.len());
}

#[test]
fn bodies_of_many_small_items_are_refused() {
    let nothing = |n: usize| vec![Value::from(Vec::<u8>::new()); n];
    let group = cbor_map! { "b" => nothing(1 << 20), "s" => nothing(1 << 20) }.encode();
    let error = read_block_group(Codec::Raw, &group).unwrap_err();
    assert_eq!(error.to_string(), "malformed CBOR: too many items");
    let error = read_pointers(&cbor_map! { "p" => nothing(1 << 20) }.encode()).unwrap_err();
    assert_eq!(error.to_string(), "malformed CBOR: too many items");
}

#[test]
fn a_group_with_a_signature_missing_is_refused() {
    let body = hex::decode("a2616281056173 80".replace(' ', "")).unwrap();
    let error = read_block_group(Codec::DagCbor, &body).unwrap_err();
    assert_eq!(error.to_string(), "Different number of of blocks and signatures! 1 != 0");
}

#[test]
fn champ_lookups() {
    let caps = read_champ_caps(&text("champ/get/bulk caps", "capsParam")).unwrap();
    assert_eq!((caps.len(), caps[0].bat.is_some(), caps[1].bat.is_some()), (2, true, false));
    assert_eq!(champ_caps(&caps), text("champ/get/bulk caps", "capsParam"));
    let many = vec![caps[1].clone(); 21];
    let error = read_champ_caps(&champ_caps(&many)).unwrap_err();
    assert_eq!(error.to_string(), "Too many caps in bulk champ get call! 21");

    let blocks = vec![Bytes::from_static(b""), Bytes::from(vec![7; 300])];
    let reply = Bytes::from(block_list(&blocks));
    assert_eq!(read_block_list(&reply).unwrap(), blocks);
    for end in 0..reply.len() {
        assert!(read_block_list(&reply.slice(..end)).is_err());
    }
}

#[test]
fn what_a_store_can_do() {
    for name in ["BlockStoreProperties empty", "BlockStoreProperties s3"] {
        assert_eq!(StoreProperties::from_cbor(&cbor(name)).unwrap().to_cbor(), cbor(name));
    }
    assert_eq!(StoreProperties::default().to_cbor(), cbor("BlockStoreProperties empty"));
}

#[test]
fn names_and_claims() {
    let body = vector("core/signup", "bytes");
    let request = read_sign_up(&body).unwrap();
    assert_eq!(request.username, "alice");
    assert_eq!(sign_up(&request).unwrap(), body);
    assert_eq!(admission(Admission::Accepted), vector("core/signup", "okResponse"));
    let harder = vector("core/signup", "difficultyResponse");
    assert_eq!(read_admission(&harder).unwrap(), Admission::WorkRequired(17));
    assert_eq!(admission(Admission::WorkRequired(17)), harder);
    assert!(read_admission(&[0, 0xff, 0xff, 0xff, 0xff]).is_err());

    let body = vector("core/getPublicKey", "bytes");
    assert_eq!(username(&read_username(&body).unwrap()).unwrap(), body);
    let reply = vector("core/getPublicKey", "responsePresent");
    let owner = read_public_key(&reply).unwrap();
    assert_eq!(public_key(owner.as_ref()), reply);
    assert_eq!(public_key(None), vector("core/getPublicKey", "responseAbsent"));
    assert_eq!(read_public_key(&[0]).unwrap(), None);

    let body = vector("core/getUsername", "bytes");
    assert_eq!(read_identity(&body).unwrap(), owner.unwrap());
    assert_eq!(identity(&read_identity(&body).unwrap()), body);
    assert_eq!(read_username(&vector("core/getUsername", "response")).unwrap(), "alice");

    let body = vector("core/updateChain", "bytes");
    assert_eq!(ChainUpdate::from_bytes(&body).unwrap().to_bytes().unwrap(), body);
}

#[test]
fn second_factors() {
    let reply = cbor("LoginResponse B");
    let LoginResponse::SecondFactor(request) = LoginResponse::from_cbor(&reply).unwrap() else { panic!("no request") };
    let parsed = MfaRequest::from_cbor(&request).unwrap();
    assert_eq!(parsed.methods.len(), 1);
    assert_eq!(parsed.to_cbor(), request);
    for (name, is_code) in [("MultiFactorAuthResponse code", true), ("MultiFactorAuthResponse webauthn", false)] {
        let answer = MfaResponse::from_cbor(&cbor(name)).unwrap();
        assert_eq!(matches!(answer.answer, MfaAnswer::Code(_)), is_code);
        assert_eq!(answer.to_cbor(), cbor(name));
    }
    assert_eq!(BackupCodes::from_cbor(&cbor("BackupCodes")).unwrap().to_cbor(), cbor("BackupCodes"));
    let credential = text("TotpKey text", "text");
    assert_eq!(*Totp::from_text(&credential).unwrap().to_text(), credential);
    assert_eq!(*normalise_backup_code(" A3F5B-2xqz7 "), "a3f5b2xqz7");
}

#[test]
fn space_and_links() {
    let request = SpaceRequest::from_cbor(&cbor("SpaceRequest")).unwrap();
    assert_eq!((request.bytes, request.username.as_str()), (1 << 30, "alice"));
    assert_eq!(request.to_cbor(), cbor("SpaceRequest"));
    let properties = cbor("PaymentProperties");
    assert_eq!(PaymentProperties::from_cbor(&properties).unwrap().to_cbor(), properties);
    let counts = cbor("LinkCounts");
    assert_eq!(LinkCount::list_to_cbor(&LinkCount::list_from_cbor(&counts).unwrap()), counts);
    assert_eq!(read_number(&number(30_000_000)).unwrap(), 30_000_000);
    assert_eq!(number(30_000_000), hex::decode("1a01c9c380").unwrap());
}

#[test]
fn follow_request_lists() {
    assert_eq!(follow_requests(&[]).unwrap(), [0, 0, 0, 1, 0x80]);
    let requests = vec![vec![0x05], vec![0x61, b'x']];
    assert_eq!(read_follow_requests(&follow_requests(&requests).unwrap()).unwrap(), requests);
    assert!(follow_requests(&[vec![0xff]]).is_err());
}

#[test]
fn multipart() {
    let body = Bytes::from_static(b"--XY\r\nA: b\r\n\r\none\r\n--XY\r\nC: d\r\n\r\ntw\r\no\r\n--XY--\r\n");
    let parts = read_multipart("multipart/form-data; boundary=XY", &body).unwrap();
    assert_eq!(parts, [&b"one"[..], b"tw\r\no"]);
    let error = read_multipart("multipart/form-data;charset=UTF-8; boundary=XY", &body).unwrap_err();
    assert_eq!(error.to_string(), "Incorrect boundary! UTF-8; boundary=XY != XY");
    assert!(matches!(read_multipart("text/plain", &body), Err(Error::Refused(_))));
    for end in 0..body.len() - 4 {
        assert!(read_multipart("multipart/form-data; boundary=XY", &body.slice(..end)).is_err());
    }
}

proptest! {
    #[test]
    fn anything_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[ -~]{0,100}") {
        let _ = read_block_group(Codec::Raw, &bytes);
        let _ = read_pointers(&bytes);
        let _ = read_block_list(&Bytes::from(bytes.clone()));
        let _ = read_sign_up(&bytes);
        let _ = ChainUpdate::from_bytes(&bytes);
        let _ = read_follow_requests(&bytes);
        let _ = read_multipart(&text, &Bytes::from(bytes));
        let _ = read_champ_caps(&text);
    }

    #[test]
    fn broken_bodies_are_read(at in any::<prop::sample::Index>(), change in 1..=255_u8) {
        for name in ["core/signup", "core/updateChain"] {
            let mut body = vector(name, "bytes");
            let at = at.index(body.len());
            body[at] ^= change;
            let _ = read_sign_up(&body);
            let _ = ChainUpdate::from_bytes(&body);
        }
        let mut body = vector("BlockWriteGroup", "cbor");
        let at = at.index(body.len());
        body[at] ^= change;
        let _ = read_block_group(Codec::DagCbor, &body);
    }
}

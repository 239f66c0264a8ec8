//! Sign-ups of `02-signup-oplog.json` and `01-account.json`, verified whole, and the login data of
//! `02-http-bodies.json`.

use peergos_crypto::{cbor::Value, cid::Codec, datastream::Reader, pow::ProofOfWork, signed_request, signing::KeyHash};
use proptest::prelude::*;

use super::{Account, body, bytes, cbor, key, signer, vectors};
use crate::{
    Error, PointerUpdate, Result,
    claim::{ClaimChain, ClaimLink, links_to_cbor},
    login::{BlockWrite, LoginData, LoginResponse, OpLog, Operation},
    owned::{self, OwnershipSource},
};

/// The requests for three sign-ups.
fn requests() -> Vec<Vec<u8>> {
    let accounts = vectors("01-account.json");
    let mut requests = vec![bytes(&vectors("02-signup-oplog.json")["body"])];
    requests.extend(accounts.as_object().unwrap().values().map(|account| bytes(&account["signup_request_body"])));
    requests
}

fn op_log(request: &[u8]) -> (String, Vec<u8>, Vec<u8>, Vec<u8>) {
    let mut reader = Reader::new(request);
    let username = reader.text(64).unwrap().to_owned();
    let [link, log, proof] = std::array::from_fn(|_| reader.bytes(1 << 16).unwrap().to_vec());
    assert_eq!(reader.text(64).unwrap(), "");
    reader.finish().unwrap();
    (username, link, log, proof)
}

#[test]
fn complete_sign_ups() {
    for request in requests() {
        let (username, link, encoded, proof) = op_log(&request);
        let links = vec![ClaimLink::from_cbor(&Value::decode(&link).unwrap()).unwrap()];
        assert_eq!(links[0].to_cbor().encode(), link);
        let work = ProofOfWork::from_cbor(&Value::decode(&proof).unwrap()).unwrap();
        assert!(work.satisfies(&links_to_cbor(&links).encode(), 0));
        let chain = ClaimChain::merge(&username, None, links).unwrap();
        let identity = signer(chain.identity());

        let log = OpLog::from_cbor(&Value::decode(&encoded).unwrap()).unwrap();
        assert_eq!(log.to_cbor().encode(), encoded);
        let account = replay(&log);
        let writers: Vec<_> = owned::walk(&account, chain.identity()).collect::<Result<_>>().unwrap();
        assert_eq!(writers.len(), 1);
        assert_eq!(writers[0].parent, *chain.identity());
        assert_eq!(account.pointers.len(), 2);
        assert!(account.writer_data(&writers[0].writer).unwrap().unwrap().tree.is_some());

        if let Some((login, auth)) = &log.login {
            assert_eq!(login.username, username);
            login.verify(auth, &identity).unwrap();
        } else {
            assert!(account.writer_data(chain.identity()).unwrap().unwrap().static_data.is_some());
        }
        let (bat, auth) = log.mirror_bat.as_ref().unwrap();
        assert_eq!(bat.id, bat.bat.mirror_id());
        let signed = Value::decode(identity.open(auth).unwrap()).unwrap();
        let time = signed.as_map("").unwrap().get("t").unwrap().as_int("").unwrap();
        signed_request::verify(&identity, auth, "peergos/v0/bats/addBat", time, 0).unwrap();
    }
}

/// Does what the log says, as a server would, and checks all signatures.
fn replay(log: &OpLog) -> Account {
    let mut account = Account::default();
    for operation in &log.operations {
        match operation {
            Operation::Block(write) => {
                write.verify().unwrap();
                account.put([write.block.block.clone()]);
            }
            Operation::Pointer(write) => {
                let update = PointerUpdate::open(&write.signed, &signer(&write.writer)).unwrap();
                assert_eq!((&update.original, update.sequence), (&None, Some(1)));
                account.pointers.insert(write.writer.clone(), update);
                account.writer_data(&write.writer).unwrap().unwrap();
            }
        }
    }
    account
}

#[test]
fn operations_one_by_one() {
    let vector = vectors("02-signup-oplog.json");
    let (username, _, encoded, proof) = op_log(&bytes(&vector["body"]));
    assert_eq!((&username[..], hex::encode(proof)), ("carol", vector["proofOfWork"].as_str().unwrap().to_owned()));
    let log = OpLog::from_cbor(&Value::decode(&encoded).unwrap()).unwrap();
    let expected = vector["ops"].as_array().unwrap();
    assert_eq!(log.operations.len(), expected.len());
    for (operation, expected) in log.operations.iter().zip(expected) {
        let writer = match operation {
            Operation::Block(write) => {
                assert_eq!(expected["type"], "block");
                let block = &write.block.block;
                assert_eq!(hex::encode(block.data()), expected["block"]);
                assert_eq!(block.cid().to_string(), expected["cid"].as_str().unwrap());
                assert_eq!(block.cid().codec() == Codec::Raw, expected["raw"].as_bool().unwrap());
                assert_eq!(hex::encode(write.block.attached()), expected["signature"]);
                &write.writer
            }
            Operation::Pointer(write) => {
                assert_eq!(expected["type"], "pointer");
                assert_eq!(hex::encode(&write.signed), expected["signed"]);
                &write.writer
            }
        };
        assert_eq!(writer.to_string(), expected["writer"].as_str().unwrap());
    }
    let (bat, auth) = log.mirror_bat.unwrap();
    assert_eq!(hex::encode(bat.bat.as_bytes()), vector["mirrorBat"]["bat"]);
    assert_eq!(bat.id.to_string(), vector["mirrorBat"]["id"].as_str().unwrap());
    assert_eq!(hex::encode(auth), vector["addBatAuth"]);
    assert_eq!(hex::encode(log.login.unwrap().1), vector["loginAuth"]);
}

#[test]
fn a_log_with_raw_blocks() {
    let vector = body("OpLog");
    let log = OpLog::from_cbor(&cbor(&vector["cbor"])).unwrap();
    assert_eq!(log.to_cbor().encode(), bytes(&vector["cbor"]));
    let mut raw = 0;
    for operation in &log.operations {
        if let Operation::Block(write) = operation {
            write.verify().unwrap();
            raw += usize::from(write.block.block.cid().codec() == Codec::Raw);
        }
    }
    assert_eq!(raw, 1);
    assert_eq!(hex::encode(OpLog::default().to_cbor().encode()), vector["emptyOpLog"]);
    OpLog::from_cbor(&cbor(&vector["emptyOpLog"])).unwrap();
}

#[test]
fn login_data() {
    let vector = body("LoginData (dummy cipher) + auth");
    let data = LoginData::from_cbor(&cbor(&vector["cbor"])).unwrap();
    assert_eq!(data.to_cbor().encode(), bytes(&vector["cbor"]));
    assert_eq!((&data.username[..], data.reader), ("alice", key("login").public()));
    let identity = key("owner");
    let auth = data.authorise(&identity);
    assert_eq!(hex::encode(auth), vector["authSignatureOnly"]);
    data.verify(&auth, &identity.public()).unwrap();
    assert!(data.verify(&auth, &key("writer").public()).is_err());
    assert!(LoginData { username: "bob".into(), ..data }.verify(&auth, &identity.public()).is_err());

    let vector = body("LoginData with identityUpdate");
    let data = LoginData::from_cbor(&cbor(&vector["cbor"])).unwrap();
    assert_eq!(data.to_cbor().encode(), bytes(&vector["cbor"]));
    let (block, pointer) = data.identity_update.unwrap();
    // the signature in this answer is the other key's
    block.block.verify(&key("writer").public()).unwrap();
    assert!(matches!(block.verify(), Err(Error::BlockSignature)));
    assert_eq!((&block.writer, &pointer.writer), (identity.hash(), identity.hash()));
}

#[test]
fn login_responses() {
    for (name, done) in [("LoginResponse A", true), ("LoginResponse B (MFA)", false)] {
        let vector = body(name);
        let response = LoginResponse::from_cbor(&cbor(&vector["cbor"])).unwrap();
        assert_eq!(response.to_cbor().encode(), bytes(&vector["cbor"]));
        assert_eq!(matches!(response, LoginResponse::EntryPoints(_)), done);
    }
    for account in vectors("01-account.json").as_object().unwrap().values() {
        let Some(hex) = account.get("getLogin_response").filter(|hex| hex.is_string()) else { continue };
        assert_eq!(LoginResponse::from_cbor(&cbor(hex)).unwrap().to_cbor().encode(), bytes(hex));
    }
}

#[test]
fn what_is_signed_for_one_block_does_not_serve_another() {
    let log = OpLog::from_cbor(&cbor(&body("OpLog")["cbor"])).unwrap();
    let Some(Operation::Block(write)) = log.operations.first() else { panic!("no block") };
    let with = |field: &str, value: Value| {
        let Value::Map(mut map) = write.to_cbor() else { panic!("not a map") };
        map.insert(field, value);
        BlockWrite::from_cbor(&map.into())
    };
    assert!(matches!(with("b", vec![1u8].into()), Err(Error::BlockSignature)));
    assert!(matches!(with("s", vec![0u8; 64].into()), Err(Error::BlockSignature)));
    let other = with("w", key("writer").hash().into()).unwrap();
    assert!(matches!(other.verify(), Err(Error::BlockSignature)));
    let boxing = KeyHash::of(&Value::Array(vec![2i64.into(), vec![0u8; 64].into()]));
    assert!(matches!(with("w", (&boxing).into()).unwrap().verify(), Err(Error::Crypto(_))));
}

#[test]
fn halves_are_refused() {
    let Value::Map(log) = cbor(&body("OpLog")["cbor"]) else { panic!("not a map") };
    for half in ["a", "b", "ops"] {
        let mut log = log.clone();
        assert!(log.remove(half).is_some());
        assert!(OpLog::from_cbor(&log.into()).is_err(), "{half}");
    }
    let mut log = log;
    let login = body("LoginData (dummy cipher) + auth");
    log.insert("login", cbor(&login["cbor"]));
    log.remove("loginAuth");
    assert!(OpLog::from_cbor(&log.into()).is_err());
    let Value::Map(login) = cbor(&body("LoginData with identityUpdate")["cbor"]) else { panic!("not a map") };
    for half in ["b", "p", "e", "r", "u"] {
        let mut login = login.clone();
        login.remove(half);
        assert!(LoginData::from_cbor(&login.into()).is_err(), "{half}");
    }
}

proptest! {
    #[test]
    fn mutated_logs(at in 0usize..1000, byte: u8) {
        let mut log = bytes(&body("OpLog")["cbor"]);
        let at = at % log.len();
        log[at] = byte;
        if let Ok(log) = Value::decode(&log).map_err(Error::from).and_then(|value| OpLog::from_cbor(&value)) {
            let encoded = log.to_cbor().encode();
            let again = OpLog::from_cbor(&Value::decode(&encoded).unwrap()).unwrap();
            prop_assert_eq!(again.to_cbor().encode(), encoded);
        }
    }
}

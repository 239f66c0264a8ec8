//! Two whole accounts, from the password down to the children of the home directory, as far as the cryptography goes.

use peergos_crypto::{
    bat::{Bat, BatWithId},
    boxing::BoxingKeyPair,
    cbor::{Map, Value},
    cid::{Cid, Codec},
    datastream::{Reader, Writer},
    password::{self, Algorithm},
    pow::ProofOfWork,
    secretbox::{NONCE_LEN, OVERHEAD},
    signed_request, signed_time,
    signing::{KeyHash, PublicSigningKey, SecretSigningKey},
    symmetric::{CipherText, SymmetricKey},
};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use crate::{Field, vectors};

fn field<'a>(map: &'a Map, key: &str) -> &'a Value {
    map.get(key).unwrap_or_else(|| panic!("no {key}"))
}

fn map<'a>(value: &'a Value, key: &str) -> &'a Map {
    field(value.as_map("map").unwrap(), key).as_map("map").unwrap()
}

fn bytes<'a>(map: &'a Map, key: &str) -> &'a [u8] {
    field(map, key).as_bytes("bytes").unwrap()
}

/// Opens a padded cipher text, and seals it again to the same bytes.
fn open(text: &Value, key: &SymmetricKey, block: usize) -> Value {
    let text = CipherText::from_cbor(text).unwrap();
    let secret = text.open(key).unwrap();
    assert_eq!(CipherText::seal_with(key, text.nonce, &secret, block), text);
    secret
}

/// A block of the account, whose hash is checked.
fn block(account: &Json, cid: &Cid) -> Value {
    let block = &account["blocks"][cid.to_string()];
    assert!(cid.verifies(&block.bytes()));
    block.cbor()
}

/// The block that a signed pointer response names, and its CID.
fn pointer_target(account: &Json, response: &Json, writer: &PublicSigningKey) -> (Cid, Value) {
    let update = Value::decode_canonical(writer.open(&response["response"].bytes()).unwrap()).unwrap();
    let [Value::Null, Value::Bytes(updated), Value::Int(1)] = update.as_array("pointer update").unwrap() else {
        panic!("a first pointer update");
    };
    let cid = Cid::from_bytes(updated).unwrap();
    let block = block(account, &cid);
    (cid, block)
}

struct Home {
    writer: KeyHash,
    read: SymmetricKey,
    write: SymmetricKey,
    bat: Bat,
}

fn home(entry_points: &Value, account: &Json) -> Home {
    let entries = field(entry_points.as_map("entry points").unwrap(), "e").as_array("entries").unwrap();
    let [entry] = entries else { panic!("one entry") };
    assert_eq!(field(entry.as_map("entry").unwrap(), "n"), &Value::from(account["username"].text()));
    let (cap, expected) = (map(entry, "c"), &account["root_cap"]);
    let home = Home {
        writer: KeyHash::from_cbor(field(cap, "w"), "writer").unwrap(),
        read: SymmetricKey::from_cbor(field(cap, "k")).unwrap(),
        write: SymmetricKey::from_cbor(field(cap, "b")).unwrap(),
        bat: Bat::from_cbor(field(cap, "a")).unwrap(),
    };
    assert_eq!(home.writer.to_string(), expected["writer"].text());
    assert_eq!(home.read.as_bytes()[..], expected["read_key"].bytes());
    assert_eq!(home.write.as_bytes()[..], expected["write_key"].bytes());
    assert_eq!(home.bat.as_bytes()[..], expected["bat"].bytes());
    home
}

/// The layers of the home directory's node and its children's.
fn check_nodes(account: &Json, home: &Home) {
    let expected = &account["root_dir"];
    let nodes: Vec<Value> = account["blocks"].as_object().unwrap().values().map(Field::cbor).collect();
    let node_of = |bat: &Bat| {
        let inline = bat.inline_id().to_bytes();
        let carries = |node: &&Value| {
            let ids = node.as_map("block").ok().and_then(|map| map.get("bats"));
            ids.is_some_and(|ids| ids.as_array("ids").unwrap()[0] == Value::Bytes(inline.clone()))
        };
        nodes.iter().find(carries).unwrap().as_map("node").unwrap()
    };
    let node = node_of(&home.bat);
    let from_base = open(field(node, "b"), &home.read, 64);
    assert_eq!(from_base, expected["from_base_cbor"].cbor());
    let base = from_base.as_map("from base").unwrap();
    let parent = SymmetricKey::from_cbor(field(base, "k")).unwrap();
    assert_eq!(open(field(node, "p"), &parent, 16), expected["from_parent_cbor"].cbor());
    let signer = SecretSigningKey::from_signer_cbor(&open(field(base, "w"), &home.write, 1)).unwrap();
    assert_eq!(signer.hash(), &home.writer);

    let data = field(node, "d").as_map("data").unwrap();
    let [Value::Bytes(inline)] = field(data, "f").as_array("fragments").unwrap() else { panic!("inline data") };
    assert_eq!(inline.len() as u64, OVERHEAD as u64 + expected["children_padded_len"].number());
    let nonce: [u8; NONCE_LEN] = field(data, "n").as_array_of("nonce").unwrap();
    let children = Value::decode(&home.read.open(&nonce, inline).unwrap()).unwrap();
    assert_eq!(children, expected["children_cbor"].cbor());

    let children = children.as_array("children").unwrap();
    assert_eq!(children.len(), expected["children"].items().len());
    for (child, expected) in children.iter().zip(expected["children"].items()) {
        let child = child.as_map("child").unwrap();
        assert_eq!(field(child, "n"), &Value::from(expected["name"].text()));
        assert_eq!(open(field(child, "l"), &home.write, 1), expected["write_key_cbor"].cbor());
        let read = SymmetricKey::from_cbor(field(child, "k")).unwrap();
        let node = node_of(&Bat::from_cbor(field(child, "a")).unwrap());
        let base = open(field(node, "b"), &read, 64);
        assert_eq!(base, expected["from_base_cbor"].cbor());
        let parent = SymmetricKey::from_cbor(field(base.as_map("base").unwrap(), "k")).unwrap();
        assert_eq!(open(field(node, "p"), &parent, 16), expected["from_parent_cbor"].cbor());
    }
}

/// Everything signed in the sign-up request, which must itself come out the same byte for byte.
fn check_sign_up(account: &Json, identity: &SecretSigningKey) {
    let body = account["signup_request_body"].bytes();
    let mut reader = Reader::new(&body);
    let username = reader.text(64).unwrap();
    let parts = [reader.bytes(1 << 20).unwrap(), reader.bytes(1 << 16).unwrap(), reader.bytes(100).unwrap()];
    let token = reader.text(64).unwrap();
    reader.finish().unwrap();
    assert_eq!((username, token), (account["username"].text(), account["token"].text()));
    let [link, op_log, proof] = parts.map(|part| Value::decode_canonical(part).unwrap());
    assert_eq!(link, account["username_claim_link_cbor"].cbor());
    assert_eq!(op_log, account["oplog_cbor"].cbor());
    let [link_bytes, op_log_bytes, proof_bytes] = parts;
    let mut writer = Writer::new();
    writer.text(username).unwrap().bytes(link_bytes).bytes(op_log_bytes).bytes(proof_bytes).text(token).unwrap();
    assert_eq!(writer.finish(), body);

    let proof = ProofOfWork::from_cbor(&proof).unwrap();
    assert_eq!(proof, ProofOfWork::find(&Value::Array(vec![link.clone()]).encode(), 0).unwrap());

    let claim = field(link.as_map("link").unwrap(), "claim").as_array("claim").unwrap();
    let [name, expiry, providers, Value::Bytes(signed)] = claim else { panic!("a claim") };
    let [Value::Bytes(provider)] = providers.as_array("providers").unwrap() else { panic!("one provider") };
    let mut payload = Writer::new();
    payload.text(name.as_text("name").unwrap()).unwrap().text(expiry.as_text("expiry").unwrap()).unwrap();
    assert_eq!(&identity.sign(&payload.i32(1).bytes(provider).finish()), signed);

    let op_log = op_log.as_map("op log").unwrap();
    let mirror = BatWithId::from_cbor(field(op_log, "b")).unwrap();
    assert_eq!(mirror.id, mirror.bat.mirror_id());
    let auth = bytes(op_log, "a");
    let request = Value::decode(identity.public().open(auth).unwrap()).unwrap();
    let time = field(request.as_map("request").unwrap(), "t").as_int("time").unwrap();
    signed_request::verify(&identity.public(), auth, "peergos/v0/bats/addBat", time + 300_000, 300_000).unwrap();
    assert_eq!(signed_request::sign(identity, "peergos/v0/bats/addBat", time), auth);

    for op in field(op_log, "ops").as_array("operations").unwrap() {
        let op = op.as_map("operation").unwrap();
        let writer = KeyHash::from_cbor(field(op, "w"), "writer").unwrap().signing_key().unwrap();
        let message = writer.open(bytes(op, "s")).unwrap();
        match op.get("b") {
            Some(block) => assert_eq!(message, &Sha256::digest(block.as_bytes("block").unwrap())[..]),
            None => assert!(Value::decode_canonical(message).is_ok()),
        }
    }
}

/// Checks everything up to the identity block, and returns that.
fn check_identity(account: &Json, owner: &KeyHash) -> Value {
    let key = owner.signing_key().unwrap();
    let mut request = Writer::new();
    request.text(account["username"].text()).unwrap();
    assert_eq!(request.finish(), account["getPublicKey_request"].bytes());
    let response = account["getPublicKey_response"].bytes();
    let mut response = Reader::new(&response);
    assert!(response.bool().unwrap());
    assert_eq!(response.bytes(100).unwrap(), Value::from(owner).encode());
    response.finish().unwrap();

    let (cid, identity) = pointer_target(account, &account["getPointer"][0], &key);
    assert_eq!(cid.to_string(), account["identity_writer_data_cid"].text());
    let fields = identity.as_map("identity").unwrap();
    assert_eq!(field(fields, "controller"), &Value::from(owner));
    assert_eq!(field(fields, "algorithm"), &account["algorithm_cbor"].cbor());

    let proof = account["owner_proof_cbor"].cbor();
    let proof = proof.as_map("owner proof").unwrap();
    let owned = KeyHash::from_cbor(field(proof, "o"), "owned key").unwrap();
    assert_eq!(owned.signing_key().unwrap().open(bytes(proof, "p")).unwrap(), Value::from(owner).encode());
    let mut champ_key = Value::from(&owned).encode();
    champ_key.reverse();
    assert_eq!(champ_key, account["owned_champ_key"].bytes());
    identity
}

#[test]
fn current() {
    let account = &vectors("01-account")["current"];
    let owner =
        SecretSigningKey::from_cbor(&Value::Array(vec![Value::Int(1), account["identity_secret"].bytes().into()]));
    let owner = owner.unwrap();
    let identity = check_identity(account, owner.hash());
    let identity = identity.as_map("identity").unwrap();

    let algorithm = Algorithm::from_cbor(field(identity, "algorithm")).unwrap();
    let keys = password::derive(account["username"].text(), account["password"].text(), &algorithm).unwrap();
    assert_eq!(keys.signing.public().to_cbor(), account["login_public_key_cbor"].cbor());
    assert_eq!(keys.root.as_bytes()[..], account["login_root_key"].bytes());
    assert!(keys.legacy_boxing.is_none());

    let path = account["getLogin_path"].text();
    let auth = path.split("auth=").nth(1).and_then(|rest| rest.split('&').next()).unwrap();
    let auth = hex::decode(auth).unwrap();
    let time = Value::decode(keys.signing.public().open(&auth).unwrap()).unwrap().as_int("time").unwrap();
    assert_eq!(signed_time::sign(&keys.signing, time), auth);
    assert_eq!(signed_time::verify(&keys.signing.public(), &auth, time, 0).unwrap(), time);

    let response = account["getLogin_response"].cbor();
    let entry_points = open(field(response.as_map("response").unwrap(), "r"), &keys.root, 4096);
    assert_eq!(entry_points, account["entry_points_cbor"].cbor());
    let fields = entry_points.as_map("entry points").unwrap();
    assert_eq!(SecretSigningKey::from_pair_cbor(field(fields, "i")).unwrap().hash(), owner.hash());
    let boxing = BoxingKeyPair::from_cbor(field(fields, "b")).unwrap();
    assert_eq!(&boxing.to_cbor(), field(fields, "b"));
    let inbound = field(identity, "inbound").as_link("inbound").unwrap();
    assert_eq!(boxing.public().hash().cid(), inbound);
    assert_eq!(block(account, inbound), boxing.public().to_cbor());

    let login = account["login_data_cbor"].bytes();
    assert_eq!(owner.sign_detached(&login)[..], account["login_auth_signature"].bytes());

    check_sign_up(account, &owner);
    let home = home(&entry_points, account);
    pointer_target(account, &account["getPointer"][1], &home.writer.signing_key().unwrap());
    check_nodes(account, &home);
}

#[test]
fn legacy() {
    let account = &vectors("01-account")["legacy"];
    let owner = KeyHash::from_cid(account["identity_public_key_hash"].text().parse().unwrap()).unwrap();
    let identity = check_identity(account, &owner);
    let identity = identity.as_map("identity").unwrap();

    let algorithm = Algorithm::from_cbor(field(identity, "algorithm")).unwrap();
    let keys = password::derive(account["username"].text(), account["password"].text(), &algorithm).unwrap();
    assert_eq!(keys.signing.hash(), &owner);
    assert_eq!(keys.root.as_bytes()[..], account["login_root_key"].bytes());
    let boxing = keys.legacy_boxing.unwrap();
    assert_eq!(boxing.public().hash().cid(), field(identity, "inbound").as_link("inbound").unwrap());

    let entry_points = open(field(identity, "static"), &keys.root, 4096);
    assert_eq!(entry_points, account["entry_points_cbor"].cbor());
    check_sign_up(account, &keys.signing);
    let home = home(&entry_points, account);
    pointer_target(account, &account["getPointer"][1], &home.writer.signing_key().unwrap());
    check_nodes(account, &home);
}

#[test]
fn block_hashes() {
    let file = vectors("01-account");
    for account in [&file["current"], &file["legacy"]] {
        let blocks = account["blocks"].as_object().unwrap();
        assert!(blocks.len() >= 10);
        for (cid, block) in blocks {
            assert_eq!(Cid::of_block(Codec::DagCbor, &block.bytes()).to_string(), *cid);
            assert_eq!(block.cbor().encode(), block.bytes());
        }
    }
}

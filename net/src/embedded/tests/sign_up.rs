//! Signing up (spec 01 §8), with what the reference client sends and with what nobody should.

use peergos_crypto::{bat::Bat, cbor::Value, cid::Cid, signed_request, signing::SecretSigningKey};
use serde_json::Value as Json;

use super::support::*;
use crate::{
    Admission, EmbeddedNode, Error, Node, PointerUpdate, PointerWrite, SignUp,
    claim::{ClaimChain, ClaimLink},
    login::{OpLog, Operation},
};

fn vectors(file: &str) -> Json {
    let path = format!("{}/../tests/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn bytes(hex: &Json) -> Vec<u8> {
    hex::decode(hex.as_str().unwrap()).unwrap()
}

/// What the reference client sent.
fn recorded(account: &Json) -> SignUp {
    SignUp {
        username: account["username"].as_str().unwrap().to_owned(),
        claim: bytes(&account["username_claim_link_cbor"]),
        op_log: bytes(&account["oplog_cbor"]),
        proof_of_work: bytes(&account["proof_of_work_cbor"]),
        token: account["token"].as_str().unwrap().to_owned(),
    }
}

fn assert_nothing_of(node: &EmbeddedNode, username: &str, identity: &SecretSigningKey) {
    assert_eq!(node.get_chain(username).unwrap(), [0x80]);
    assert_eq!(node.get_public_key(username).unwrap(), None);
    assert!(matches!(node.get_pointer(identity.hash(), identity.hash()), Err(Error::UnknownOwner(_))));
    assert!(node.usernames().is_empty());
}

#[test]
fn sign_ups_of_the_reference_client() {
    let (_dir, node) = fresh();
    let vectors = vectors("01-account.json");
    for account in [&vectors["current"], &vectors["legacy"]] {
        let mut request = recorded(account);
        let Some(secret) = account["identity_secret"].as_str() else {
            // the identity of the legacy account is made from its password
            continue;
        };
        let seed: [u8; 32] = hex::decode(secret).unwrap()[..32].try_into().unwrap();
        let identity = SecretSigningKey::from_seed(&seed);
        let wrong_host = node.sign_up(&request).unwrap_err();
        assert!(wrong_host.to_string().starts_with("Trying to signup to wrong host!"), "{wrong_host}");
        assert_nothing_of(&node, &request.username, &identity);

        // the same for this node, and today
        let home = node.id().unwrap();
        let chain = ClaimChain::first(&identity, &request.username, &home, today()).unwrap();
        request.claim = chain.links().next().unwrap().to_cbor().encode();
        let stale = node.sign_up(&request).unwrap_err();
        assert_eq!(stale.to_string(), "Stale auth time, is your clock accurate?");
        assert_nothing_of(&node, &request.username, &identity);
        let mut op_log = OpLog::from_cbor(&Value::decode(&request.op_log).unwrap()).unwrap();
        let (bat, auth) = op_log.mirror_bat.as_mut().unwrap();
        *auth = signed_request::sign(&identity, "peergos/v0/bats/addBat", millis());
        let bat = bat.clone();
        request.op_log = op_log.to_cbor().encode();
        assert_eq!(node.sign_up(&request).unwrap(), Admission::Accepted);

        let owner = node.get_public_key(&request.username).unwrap().unwrap();
        assert_eq!(owner.to_string(), account["identity_public_key_hash"].as_str().unwrap());
        assert_eq!(node.get_username(&owner).unwrap(), request.username);
        for (cid, block) in account["blocks"].as_object().unwrap() {
            let cid: Cid = cid.parse().unwrap();
            // as the server that it came from, it asks for the token
            let data = node.get_block(&owner, &cid, Some(&bat)).unwrap();
            // what was written after the sign-up is in the vectors as well
            if let Some(data) = data {
                assert_eq!(hex::encode(&data), block.as_str().unwrap());
            }
        }
        for operation in &op_log.operations {
            match operation {
                Operation::Block(write) => {
                    let block = &write.block.block;
                    let stored = node.get_block(&owner, block.cid(), Some(&bat)).unwrap();
                    assert_eq!(stored.as_ref(), Some(block.data()));
                }
                Operation::Pointer(write) => {
                    assert_eq!(node.get_pointer(&owner, &write.writer).unwrap().as_ref(), Some(&write.signed));
                }
            }
        }
        let auth = signed_request::sign(&identity, "peergos/v0/bats/getUserBats", millis());
        assert_eq!(node.get_user_bats(&request.username, &auth).unwrap(), [bat]);
        assert_eq!(node.sign_up(&request).unwrap(), Admission::Accepted, "the same again");
    }
    assert!(matches!(node.sign_up(&carol()), Err(Error::Refused(reason)) if reason.starts_with("Trying to signup")));
}

/// A whole request as it came over HTTP.
fn carol() -> SignUp {
    let carol = vectors("02-signup-oplog.json");
    let body = bytes(&carol["body"]);
    // name, link, log, proof and token, each after its length
    let mut fields = Vec::new();
    let mut rest = &body[..];
    while let Some((len, after)) = rest.split_first_chunk() {
        let (field, after) = after.split_at(i32::from_be_bytes(*len) as usize);
        fields.push(field.to_vec());
        rest = after;
    }
    let [username, claim, op_log, proof_of_work, token] = fields.try_into().unwrap();
    assert_eq!(claim, bytes(&carol["link"]));
    let text = |bytes| String::from_utf8(bytes).unwrap();
    SignUp { username: text(username), claim, op_log, proof_of_work, token: text(token) }
}

#[test]
fn nothing_of_a_bad_sign_up_is_kept() {
    let (_dir, node) = fresh();
    let client = Client::new("alice");
    let other = Client::new("mallory");
    let home = node.id().unwrap();
    let claim = client.claim(&home);
    let refuse = |request: &SignUp| {
        let error = node.sign_up(request).unwrap_err();
        assert_nothing_of(&node, &request.username, &client.identity);
        error
    };
    let with = |change: &dyn Fn(&mut OpLog)| {
        let mut op_log = client.op_log();
        change(&mut op_log);
        refuse(&client.request(&claim, &op_log))
    };

    // the claim
    let elsewhere = client.claim(&Cid::identity(peergos_crypto::cid::Codec::LibP2pKey, &[0; 36]).unwrap());
    let error = refuse(&client.request(&elsewhere, &client.op_log()));
    assert!(error.to_string().starts_with("Trying to signup to wrong host!"));
    let theirs = ClaimLink { owner: client.owner().clone(), ..other.claim(&home) };
    assert!(matches!(refuse(&client.request(&theirs, &client.op_log())), Error::Invalid(_)));
    let mut forged = client.request(&claim, &client.op_log());
    let last = forged.claim.len() - 60;
    forged.claim[last] ^= 1;
    refuse(&forged);
    for username in ["admin", "Alice", "a--b", "", "ümlaut", &"a".repeat(33)] {
        let request = SignUp { username: username.to_owned(), ..client.request(&claim, &client.op_log()) };
        assert_eq!(refuse(&request).to_string(), "Invalid username");
    }

    // sizes and forms
    let good = client.request(&claim, &client.op_log());
    let too_long = |field: &mut Vec<u8>, len| field.resize(len, 0);
    let mut request = good.clone();
    too_long(&mut request.op_log, 65_537);
    assert_eq!(refuse(&request).to_string(), "Input exceeds maximum size of 65536 bytes");
    let mut request = good.clone();
    too_long(&mut request.proof_of_work, 101);
    refuse(&request);
    for cut in [0, 1, 100, good.op_log.len() - 1] {
        refuse(&SignUp { op_log: good.op_log[..cut].to_vec(), ..good.clone() });
        refuse(&SignUp { claim: good.claim[..cut.min(50)].to_vec(), ..good.clone() });
    }

    // blocks and pointers
    for i in 0..client.op_log().operations.len() {
        let error = with(&|op_log| match &mut op_log.operations[i] {
            Operation::Block(write) => write.block.signature[0] ^= 1,
            Operation::Pointer(write) => write.signed[0] ^= 1,
        });
        assert!(matches!(error, Error::BlockSignature | Error::Crypto(_)), "{error}");
        with(&|op_log| drop(op_log.operations.remove(i)));
    }
    let stranger = with(&|op_log| {
        op_log.operations.push(Operation::Block(block_write(entry(1, 10, &[]), &other.writer)));
    });
    assert!(matches!(stranger, Error::UnknownWriter(writer) if writer == *other.writer.hash()));
    let moved_twice = with(&|op_log| {
        op_log.operations.push(Operation::Pointer(pointer_write(None, None, &client.writer)));
    });
    assert!(matches!(moved_twice, Error::Invalid(_)));
    let skipped = with(&|op_log| {
        let update = PointerUpdate { original: None, updated: Some(home.clone()), sequence: Some(9) };
        let write = PointerWrite { writer: client.owner().clone(), signed: update.sign(&client.identity) };
        op_log.operations.push(Operation::Pointer(write));
    });
    assert!(matches!(skipped, Error::PointerCas { .. }));

    // login data and BAT
    let error = with(&|op_log| op_log.login.as_mut().unwrap().1[0] ^= 1);
    assert!(matches!(error, Error::Crypto(peergos_crypto::Error::Signature)));
    let error = with(&|op_log| {
        let (login, auth) = op_log.login.as_mut().unwrap();
        login.username = "mallory".into();
        *auth = login.authorise(&client.identity);
    });
    assert_eq!(error.to_string(), "Invalid signup data!");
    let error = with(&|op_log| {
        let (login, auth) = op_log.login.as_mut().unwrap();
        *auth = login.authorise(&other.identity);
    });
    assert!(matches!(error, Error::Crypto(_)));
    let error = with(&|op_log| {
        let (bat, _) = op_log.mirror_bat.as_mut().unwrap();
        bat.bat = Bat::from_bytes([5; 32]);
    });
    assert!(matches!(error, Error::Invalid(_)));
    let error =
        with(&|op_log| op_log.mirror_bat.as_mut().unwrap().1 = client.request_auth("peergos/v0/bats/getUserBats"));
    assert!(error.to_string().starts_with("Illegal path for signed request"), "{error}");

    assert_eq!(node.sign_up(&good).unwrap(), Admission::Accepted);
}

#[test]
fn names_and_identities_are_taken_once() {
    let (_dir, node) = fresh();
    let (alice, mallory) = (Client::new("alice"), Client::new("mallory"));
    alice.sign_up(&*node).unwrap();
    let home = node.id().unwrap();
    let thief = Client { username: "alice".into(), ..Client::new("mallory") };
    let error = thief.sign_up(&*node).unwrap_err();
    assert_eq!(error.to_string(), "User already exists: Invalid key change attempt!");
    // the right claim with other contents is no repetition
    let mut op_log = alice.op_log();
    let update = PointerUpdate { original: None, updated: Some(home.clone()), sequence: Some(5) };
    let write = PointerWrite { writer: alice.writer.hash().clone(), signed: update.sign(&alice.writer) };
    op_log.operations.push(Operation::Pointer(write));
    let error = node.sign_up(&alice.request(&alice.claim(&home), &op_log)).unwrap_err();
    assert_eq!(error.to_string(), "User already exists!");

    let second_name = Client { username: "alice2".into(), ..Client::new("alice") };
    assert!(matches!(second_name.sign_up(&*node), Err(Error::Refused(_))));
    mallory.sign_up(&*node).unwrap();
    assert_eq!(node.usernames(), ["alice", "mallory"]);
}

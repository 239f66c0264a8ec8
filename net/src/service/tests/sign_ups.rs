//! Signing up over HTTP: what the reference client sends, tokens, work.

use peergos_crypto::{
    bat::{Bat, BatWithId},
    cbor::Value,
    pow::ProofOfWork,
};
use serde_json::Value as Json;

use super::*;
use crate::{
    Admission, EmbeddedNode,
    claim::{ClaimChain, ClaimLink},
    embedded::{SignUps, tests::support::*},
    http::bodies,
};

const PATH: &str = "/peergos/v0/core/signup";

fn body(client: &Client, node: &EmbeddedNode, token: &str, work: u32) -> Vec<u8> {
    let claim = client.claim(&node.id().unwrap());
    let links = Value::Array(vec![claim.to_cbor()]).encode();
    let mut request = client.request(&claim, &client.op_log());
    request.token = token.to_owned();
    request.proof_of_work = ProofOfWork::find(&links, work).unwrap().to_cbor().encode();
    bodies::sign_up(&request).unwrap()
}

#[test]
fn the_reference_client_signs_up() {
    let text = include_str!("../../../../tests/vectors/02-signup-oplog.json");
    let recorded: Json = serde_json::from_str(text).unwrap();
    let text = |value: &Json| value.as_str().unwrap().to_owned();
    let bytes = |field: &str| hex::decode(text(&recorded[field])).unwrap();
    let request = bodies::read_sign_up(&bytes("body")).unwrap();
    assert_eq!((&request.claim, &request.proof_of_work), (&bytes("link"), &bytes("proofOfWork")));
    assert_eq!(bodies::sign_up(&request).unwrap(), bytes("body"));
    // it is for the server that recorded it, at its time
    let (_dir, node) = fresh();
    let service = serve(node);
    post(&service, PATH, &bytes("body")).refused("Trying to signup to wrong host!");
    assert_eq!(post(&service, "/peergos/v0/core/getChain", &bodies::username("carol").unwrap()).ok(), [0x80]);

    let chain =
        ClaimChain::verify("carol", vec![ClaimLink::from_cbor(&Value::decode(&request.claim).unwrap()).unwrap()]);
    let (home, owner) = chain.map(|chain| (chain.home().clone(), chain.identity().clone())).unwrap();
    let auth = bytes("addBatAuth");
    let auth = Value::decode(&auth[64..]).unwrap();
    let time = auth.as_map("auth").unwrap().require("t", "auth").unwrap().as_uint("auth").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let service = serve(Arc::new(EmbeddedNode::open_as(dir.path(), home, time).unwrap()));
    assert_eq!(post(&service, PATH, &bytes("body")).ok(), bytes("response"));
    let get = |call: &str, arguments: &str| post(&service, &format!("{call}?owner={owner}&{arguments}"), b"").ok();
    let bat = BatWithId {
        bat: Bat::from_bytes(hex::decode(text(&recorded["mirrorBat"]["bat"])).unwrap().try_into().unwrap()),
        id: text(&recorded["mirrorBat"]["id"]).parse().unwrap(),
    };
    let operations = recorded["ops"].as_array().unwrap();
    for operation in operations {
        let found = match operation["type"].as_str().unwrap() {
            "block" => get("/api/v0/block/get", &format!("arg={}&bat={}", text(&operation["cid"]), bat.to_text())),
            _ => get("/peergos/v0/mutable/getPointer", &format!("writer={}", text(&operation["writer"]))),
        };
        let sent = if operation["block"].is_string() { "block" } else { "signed" };
        assert_eq!(hex::encode(found), text(&operation[sent]), "{operation}");
    }
    assert_eq!(operations.len(), 13);
}

#[test]
fn a_token_is_good_for_one_account() {
    let (_dir, node) = fresh();
    node.admit(SignUps { open: false, quota: Some(5 << 20) });
    let service = serve(Arc::clone(&node) as _);
    let (alice, bob) = (Client::new("alice"), Client::new("bob"));
    let closed = "This server is not currently accepting new sign ups. Please try again later";
    post(&service, PATH, &body(&alice, &node, "", 0)).refused(closed);
    post(&service, PATH, &body(&alice, &node, "guess", 0)).refused("Invalid signup token.");
    assert!(node.usernames().is_empty());
    assert_eq!(post(&service, "/peergos/v0/admin/signups", b"").ok(), hex::decode("a26166f46170f4").unwrap());

    let token = node.sign_up_token().unwrap();
    let first = body(&alice, &node, &token, 0);
    assert_eq!(post(&service, PATH, &first).ok(), [1]);
    // a client that has not heard of that asks again; nobody else gets in by it
    assert_eq!(post(&service, PATH, &first).ok(), [1]);
    post(&service, PATH, &body(&bob, &node, &token, 0)).refused("Invalid signup token.");
    assert_eq!(node.usernames(), ["alice"]);
    assert_eq!(node.quota(alice.owner(), &alice.time_auth()).unwrap(), 5 << 20);

    // what is refused for another reason uses none up
    let token = node.sign_up_token().unwrap();
    let mut forged = body(&bob, &node, &token, 0);
    let middle = forged.len() / 2;
    forged[middle] ^= 1;
    assert_eq!(post(&service, PATH, &forged).status, 400);
    assert_eq!(post(&service, PATH, &body(&bob, &node, &token, 0)).ok(), [1]);
}

#[test]
fn tokens_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let token = EmbeddedNode::open(dir.path()).unwrap().sign_up_token().unwrap();
    let node = Arc::new(EmbeddedNode::open(dir.path()).unwrap());
    node.admit(SignUps::default());
    let service = serve(Arc::clone(&node) as _);
    assert_eq!(post(&service, PATH, &body(&Client::new("alice"), &node, &token, 0)).ok(), [1]);
}

#[test]
fn a_crowd_has_to_work() {
    let (_dir, node) = fresh();
    node.admit(SignUps { open: true, quota: None });
    let service = serve(Arc::clone(&node) as _);
    let mut asked = None;
    for n in 0..30 {
        let client = Client::new(&format!("client{n}"));
        let reply = post(&service, PATH, &body(&client, &node, "", 0)).ok();
        if let Admission::WorkRequired(difficulty) = bodies::read_admission(&reply).unwrap() {
            asked = Some((client, difficulty));
            break;
        }
    }
    let (client, difficulty) = asked.unwrap();
    assert_eq!(difficulty, 16);
    assert_eq!(node.get_public_key(&client.username).unwrap(), None);
    assert_eq!(post(&service, PATH, &body(&client, &node, "", difficulty)).ok(), [1]);
}

//! Claims on names, and what becomes of an account when its identity changes (spec 01 §4, §9.2).

use std::sync::Arc;

use peergos_crypto::{
    cbor::Value,
    cid::{Cid, Codec},
    signing::SecretSigningKey,
};

use super::support::*;
use crate::{
    EmbeddedNode, Error, Node, WriterData,
    claim::{Claim, ClaimChain, ClaimLink, Date, links_to_cbor},
    owned::{self, OwnerProof},
};

fn chain_of(node: &EmbeddedNode) -> ClaimChain {
    let links = crate::claim::links_from_cbor(&Value::decode(&node.get_chain("alice").unwrap()).unwrap());
    ClaimChain::verify("alice", links.unwrap()).unwrap()
}

fn update(node: &EmbeddedNode, username: &str, chain: &ClaimChain) -> Result<(), Error> {
    let links: Vec<_> = chain.links().cloned().collect();
    let proof = peergos_crypto::pow::ProofOfWork::none().to_cbor().encode();
    node.update_chain(username, &links_to_cbor(&links).encode(), &proof, "").map(drop)
}

#[test]
fn claims_are_continued_by_their_owner() {
    let dir = tempfile::tempdir().unwrap();
    let node = Arc::new(EmbeddedNode::open(dir.path()).unwrap());
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    let home = node.id().unwrap();
    let chain = chain_of(&node);
    update(&node, "alice", &chain).unwrap();
    let renewed = chain.renewed(&client.identity, &home, today().plus_months(1)).unwrap();
    update(&node, "alice", &renewed).unwrap();
    assert_eq!(chain_of(&node), renewed);
    let error = update(&node, "alice", &chain).unwrap_err();
    assert_eq!(error.to_string(), "New claim chain expiry before existing!");
    let thief = ClaimChain::first(&client.writer, "alice", &home, today().plus_months(5)).unwrap();
    assert_eq!(
        update(&node, "alice", &thief).unwrap_err().to_string(),
        "User already exists: Invalid key change attempt!"
    );
    let unknown = ClaimChain::first(&client.writer, "carol", &home, today()).unwrap();
    assert_eq!(update(&node, "carol", &unknown).unwrap_err().to_string(), "No value present");
    assert!(node.update_chain("alice", b"\x80", b"\xa0", "").is_err());
    drop(node);
    assert_eq!(chain_of(&EmbeddedNode::open(dir.path()).unwrap()), renewed);
}

/// The claims with which `old` hands its name over to `new`.
fn handed_over(username: &str, old: &SecretSigningKey, new: &SecretSigningKey, home: &Cid) -> Vec<ClaimLink> {
    let superseded = ClaimLink {
        claim: Claim::sign(old, username, Date::NEVER, Vec::new()).unwrap(),
        owner: old.hash().clone(),
        key_change: Some(old.sign(&Value::from(new.hash()).encode())),
    };
    let last = ClaimChain::first(new, username, home, today()).unwrap().links().next().unwrap().clone();
    vec![superseded, last]
}

#[test]
fn an_identity_hands_over_to_another() {
    let dir = tempfile::tempdir().unwrap();
    let node = Arc::new(EmbeddedNode::open(dir.path()).unwrap());
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    let new = SecretSigningKey::from_seed(&[77; 32]);
    // while it is still the old identity's: the new one is owned, and owns the home writer in its turn
    client.own(&node, &client.identity, &[OwnerProof::sign(&new, client.owner())], &[]).unwrap();
    let proof = OwnerProof::sign(&client.writer, new.hash());
    let owned = owned::update(&Nothing, None, &[proof], &[]).unwrap();
    let data = WriterData { owned: Some(owned.root), ..WriterData::new(new.hash().clone()) };
    let target = Some(data.block().cid().clone());
    let blocks = owned.blocks.into_iter().chain([data.block()]).collect();
    client.publish(&*node, &new, None, blocks, target).unwrap();

    let home = node.id().unwrap();
    let update = |links: &[ClaimLink]| {
        let proof = peergos_crypto::pow::ProofOfWork::none().to_cbor().encode();
        node.update_chain("alice", &links_to_cbor(links).encode(), &proof, "").map(drop)
    };
    let links = handed_over("alice", &client.identity, &new, &home);
    let mut forged = links.clone();
    forged[0].key_change = Some(new.sign(&Value::from(new.hash()).encode()));
    assert!(update(&forged).is_err());
    // it would leave the home writer's data to nobody
    let error = update(&handed_over("alice", &client.identity, &SecretSigningKey::from_seed(&[78; 32]), &home));
    assert!(error.unwrap_err().to_string().contains("does not own"));
    update(&links).unwrap();
    assert_eq!(node.get_public_key("alice").unwrap().as_ref(), Some(new.hash()));
    // old capabilities name the old identity
    for owner in [client.owner(), new.hash()] {
        assert_eq!(node.get_username(owner).unwrap(), "alice");
    }
    let put = |node: &EmbeddedNode, key: &SecretSigningKey| {
        let transaction = node.start_transaction(new.hash()).unwrap();
        let block = entry(1, 10, &[]).sign(key);
        node.put_blocks(new.hash(), key.hash(), &transaction, Codec::DagCbor, vec![block])
    };
    put(&node, &new).unwrap();
    put(&node, &client.writer).unwrap();
    assert!(matches!(put(&node, &client.identity), Err(Error::UnknownWriter(_))));
    let login = client.login_data();
    let set = |key: &SecretSigningKey| node.set_login("alice", &login.to_cbor().encode(), &login.authorise(key));
    assert!(set(&client.identity).is_err());
    set(&new).unwrap();
    let back = handed_over("alice", &new, &client.identity, &home);
    assert!(update(&back).is_err(), "an identity does not return");

    drop(node);
    let node = Arc::new(EmbeddedNode::open(dir.path()).unwrap());
    assert_eq!(node.get_username(client.owner()).unwrap(), "alice");
    put(&node, &client.writer).unwrap();
    let mut taken = Client::new("alice2");
    taken.identity = client.identity.clone();
    assert!(matches!(taken.sign_up(&*node), Err(Error::Refused(_))));
}

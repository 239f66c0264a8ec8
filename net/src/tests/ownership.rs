//! Owner proofs, and the tree of writers that they make.

use std::collections::BTreeSet;

use peergos_crypto::{
    cbor::Value,
    cbor_map,
    signing::{KeyHash, SecretSigningKey},
};

use super::{Account, bytes, cbor, key, vectors};
use crate::{
    Error, Result, WriterData,
    champ::{self, KeyHasher},
    owned::{self, OwnedKey, OwnerProof, OwnershipSource},
};

#[test]
fn a_known_proof() {
    let vector = &vectors("02-pointers-writerdata.json")["ownerProof"];
    let (owned, owner) = (key("writer"), key("owner"));
    let proof = OwnerProof::sign(&owned, owner.hash());
    assert_eq!(proof.owned.to_string(), vector["owned"].as_str().unwrap());
    assert_eq!(hex::encode(proof.to_cbor().encode()), vector["cbor"]);
    assert_eq!(proof.block().cid().to_string(), vector["cid"].as_str().unwrap());
    let read = OwnerProof::from_cbor(&cbor(&vector["cbor"])).unwrap();
    assert_eq!(read, proof);
    read.verify(owner.hash()).unwrap();
    assert!(matches!(read.verify(owned.hash()), Err(Error::Invalid(_))));

    let encoded = bytes(&vector["cbor"]);
    for at in 0..encoded.len() {
        let mut wrong = encoded.clone();
        wrong[at] ^= 1;
        let read = Value::decode(&wrong).map_err(Error::from).and_then(|value| OwnerProof::from_cbor(&value));
        assert!(!read.is_ok_and(|proof| proof.verify(owner.hash()).is_ok()), "byte {at}");
    }
}

#[test]
fn keys_of_the_champ() {
    for vector in vectors("02-keys-cids-cbor.json")["keys"].as_array().unwrap() {
        let secret = key(vector["name"].as_str().unwrap());
        let mut account = Account::default();
        let proof = OwnerProof::sign(&secret, key("owner").hash());
        let applied = owned::update(&account, None, std::slice::from_ref(&proof), &[]).unwrap();
        account.put(applied.blocks);
        let mut found = Vec::new();
        champ::for_each(&account, &applied.root, KeyHasher::Identity, &mut |key, link| {
            found.push((hex::encode(key), link.clone()));
            Ok(())
        })
        .unwrap();
        let champ_key = vector["ownedKeyChampKey"].as_str().unwrap().to_owned();
        assert_eq!(found, [(champ_key, Value::from(proof.block().cid()))]);
    }
}

fn secret(i: u8) -> SecretSigningKey {
    SecretSigningKey::from_seed(&[i; 32])
}

/// An account in which each key owns the keys listed with it.
fn account(tree: &[(u8, &[u8])]) -> Account {
    let mut account = Account::default();
    for (owner, children) in tree {
        let owner = secret(*owner);
        let proofs: Vec<_> = children.iter().map(|child| OwnerProof::sign(&secret(*child), owner.hash())).collect();
        let applied = owned::update(&account, None, &proofs, &[]).unwrap();
        account.put(applied.blocks);
        account.set(&WriterData { owned: Some(applied.root), ..WriterData::new(owner.hash().clone()) });
    }
    account
}

fn edge(writer: u8, parent: u8) -> OwnedKey {
    OwnedKey { writer: secret(writer).hash().clone(), parent: secret(parent).hash().clone() }
}

fn walked(account: &Account, identity: u8) -> Vec<OwnedKey> {
    owned::walk(account, secret(identity).hash()).collect::<Result<_>>().unwrap()
}

#[test]
fn the_tree_below_an_identity() {
    // 9 has no data yet
    let account = account(&[(1, &[2, 3]), (2, &[4, 9]), (3, &[]), (4, &[5]), (5, &[])]);
    let found = walked(&account, 1);
    assert_eq!(found.len(), 5);
    let depth = |key: &OwnedKey| {
        [&[2u8, 3][..], &[4, 9], &[5]].iter().position(|level| level.iter().any(|i| secret(*i).hash() == &key.writer))
    };
    assert!(found.is_sorted_by_key(depth), "nearest first");
    for expected in [edge(2, 1), edge(3, 1), edge(4, 2), edge(9, 2), edge(5, 4)] {
        assert!(found.contains(&expected));
    }
    assert_eq!(walked(&account, 7), []);
}

#[test]
fn circles_end() {
    let account = account(&[(1, &[2, 1]), (2, &[3, 1]), (3, &[2, 3, 1])]);
    assert_eq!(walked(&account, 1), [edge(2, 1), edge(3, 2)]);
}

#[test]
fn changing_what_is_owned() {
    let mut account = account(&[(1, &[2, 3, 4])]);
    let owner = secret(1).hash().clone();
    let mut data = account.writer_data(&owner).unwrap().unwrap();
    let proof =
        |account: &Account, data: &WriterData, i: u8| owned::proof(account, &owner, data, secret(i).hash()).unwrap();
    assert!(proof(&account, &data, 3).is_some());
    assert!(proof(&account, &data, 5).is_none());

    let applied = owned::update(
        &account,
        data.owned.as_ref(),
        &[OwnerProof::sign(&secret(5), &owner)],
        &[secret(3).hash().clone()],
    )
    .unwrap();
    account.put(applied.blocks);
    data.owned = Some(applied.root);
    assert!(proof(&account, &data, 3).is_none());
    assert_eq!(proof(&account, &data, 5).unwrap().owned, *secret(5).hash());
    let listed = |account: &Account, data: &WriterData| -> BTreeSet<KeyHash> {
        owned::list(account, &owner, data).unwrap().into_iter().map(|proof| proof.owned).collect()
    };
    let keys = |list: &[u8]| list.iter().map(|i| secret(*i).hash().clone()).collect::<BTreeSet<_>>();
    assert_eq!(listed(&account, &data), keys(&[2, 4, 5]));

    data.named.insert("pki".into(), OwnerProof::sign(&secret(6), &owner));
    assert_eq!(listed(&account, &data), keys(&[2, 4, 5, 6]));
    assert!(proof(&account, &data, 6).is_some());
    account.set(&data);
    assert_eq!(walked(&account, 1).len(), 4);
}

#[test]
fn nobody_owns_by_saying_so() {
    let (owner, victim, other) = (secret(1), secret(2), secret(3));
    let of_other = OwnerProof::sign(&victim, other.hash());
    let forged = OwnerProof::from_cbor(&cbor_map! {
        "o" => victim.hash(),
        "p" => owner.sign(&Value::from(owner.hash()).encode()),
    });
    for proof in [of_other, forged.unwrap()] {
        let mut account = Account::default();
        let applied = owned::update(&account, None, std::slice::from_ref(&proof), &[]).unwrap();
        account.put(applied.blocks);
        let listing = WriterData { owned: Some(applied.root), ..WriterData::new(owner.hash().clone()) };
        let naming = WriterData {
            named: [("x".to_owned(), proof)].into_iter().collect(),
            ..WriterData::new(owner.hash().clone())
        };
        for data in [listing, naming] {
            assert!(owned::list(&account, owner.hash(), &data).is_err());
            assert!(owned::proof(&account, owner.hash(), &data, victim.hash()).is_err());
            account.set(&data);
            assert!(owned::walk(&account, owner.hash()).all(|found| found.is_err()));
        }
    }
}

#[test]
fn a_proof_under_another_key() {
    let (owner, child, other) = (secret(1), secret(2), secret(3));
    let mut account = Account::default();
    let proof = OwnerProof::sign(&child, owner.hash()).block();
    let mut key = Value::from(other.hash()).encode();
    key.reverse();
    let change = [(key, Some(Value::from(proof.cid())))];
    let applied = champ::apply(&account, None, change, KeyHasher::Identity, None).unwrap();
    account.put(applied.blocks.into_iter().chain([proof]));
    let data = WriterData { owned: Some(applied.root), ..WriterData::new(owner.hash().clone()) };
    assert!(matches!(owned::list(&account, owner.hash(), &data), Err(Error::Invalid(_))));
    assert!(matches!(owned::proof(&account, owner.hash(), &data, other.hash()), Err(Error::Invalid(_))));
}

#[test]
fn a_missing_proof_is_an_error() {
    let mut account = account(&[(1, &[2])]);
    let lost = OwnerProof::sign(&secret(2), secret(1).hash()).block();
    assert!(account.blocks.remove(lost.cid()).is_some());
    let mut found = owned::walk(&account, secret(1).hash());
    assert!(matches!(found.next(), Some(Err(Error::MissingBlock(cid))) if cid == *lost.cid()));
    assert!(found.next().is_none());
}

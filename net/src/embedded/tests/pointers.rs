//! Moving pointers, and who owns what (spec 02 §8, §9).

use std::sync::Arc;

use peergos_crypto::{
    cid::{Cid, Codec},
    signing::SecretSigningKey,
};

use super::{
    super::store::{Batch, BlockId, Table},
    support::*,
};
use crate::{Block, EmbeddedNode, Error, Node, PointerUpdate, PointerWrite, WriterData, champ, owned::OwnerProof};

fn signed(update: &PointerUpdate, writer: &SecretSigningKey) -> PointerWrite {
    PointerWrite { writer: writer.hash().clone(), signed: update.sign(writer) }
}

fn target(node: &EmbeddedNode, client: &Client, writer: &SecretSigningKey) -> Option<PointerUpdate> {
    let signed = node.get_pointer(client.owner(), writer.hash()).unwrap()?;
    Some(PointerUpdate::open(&signed, &writer.public()).unwrap())
}

/// WriterData with a difference.
fn version(writer: &SecretSigningKey, number: i64) -> WriterData {
    let mut data = WriterData::new(writer.hash().clone());
    data.unknown.insert("number", number);
    data
}

fn put(node: &EmbeddedNode, client: &Client, writer: &SecretSigningKey, blocks: impl IntoIterator<Item = Block>) {
    let transaction = node.start_transaction(client.owner()).unwrap();
    let blocks = blocks.into_iter().map(|block| block.sign(writer)).collect();
    node.put_blocks(client.owner(), writer.hash(), &transaction, Codec::DagCbor, blocks).unwrap();
}

#[test]
fn updates_follow_each_other() {
    let (_dir, node) = fresh();
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    let (owner, writer) = (client.owner(), &client.writer);
    let blocks: Vec<Block> = (0..4).map(|i| version(writer, i).block()).collect();
    put(&node, &client, writer, blocks.clone());
    let set = |update: &PointerUpdate| node.set_pointer(owner, &signed(update, writer));
    let start = target(&node, &client, writer).unwrap();
    let next = PointerUpdate::next(Some(&start), Some(blocks[0].cid().clone()));
    set(&next).unwrap();
    assert_eq!(target(&node, &client, writer), Some(next.clone()));

    // somebody who has not seen this
    let late = PointerUpdate::next(Some(&start), Some(blocks[1].cid().clone()));
    let error = set(&late).unwrap_err();
    assert!(matches!(&error, Error::PointerCas { existing, sequence: Some(2), claimed }
        if *existing == next.updated && *claimed == start.updated));
    let (now, then) = (next.updated.clone().unwrap(), start.updated.clone().unwrap());
    assert_eq!(error.to_string(), format!("PointerCAS:{now},2,{then}"));
    // the same again: it is the existing value that tells the client that it had succeeded
    assert!(matches!(set(&next).unwrap_err(), Error::PointerCas { existing, .. } if existing == next.updated));

    let step = |sequence| PointerUpdate { original: Some(now.clone()), updated: late.updated.clone(), sequence };
    for sequence in [None, Some(0), Some(2)] {
        let error = set(&step(sequence)).unwrap_err();
        assert!(matches!(error, Error::Sequence { current: Some(2), updated } if updated == sequence), "{error}");
    }
    set(&step(Some(10))).unwrap();

    let deleted = PointerUpdate { original: late.updated.clone(), updated: None, sequence: Some(11) };
    set(&deleted).unwrap();
    assert_eq!(target(&node, &client, writer), Some(deleted.clone()));
    set(&PointerUpdate::next(Some(&deleted), Some(blocks[2].cid().clone()))).unwrap();
}

#[test]
fn bad_updates_are_refused() {
    let (_dir, node) = fresh();
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    let (owner, writer) = (client.owner(), &client.writer);
    let start = target(&node, &client, writer).unwrap();
    let foreign = version(&client.identity, 0).block();
    let no_data = entry(1, 10, &[]);
    put(&node, &client, writer, [foreign.clone(), no_data.clone(), version(writer, 1).block()]);
    let to = |cid: &Cid| PointerUpdate::next(Some(&start), Some(cid.clone()));
    let refused = |update: PointerUpdate| node.set_pointer(owner, &signed(&update, writer)).unwrap_err();

    let controller = refused(to(foreign.cid()));
    assert_eq!(controller.to_string(), format!("WriterData controller mismatch for {}", writer.hash()));
    let absent = Cid::sha256(Codec::DagCbor, [1; 32]);
    assert_eq!(refused(to(&absent)).to_string(), format!("Couldn't retrieve WriterData from dht! {absent}"));
    assert!(matches!(refused(to(no_data.cid())), Error::Invalid(_)));
    assert!(matches!(refused(to(writer.hash().cid())), Error::Refused(_)));
    let same = PointerUpdate { original: start.updated.clone(), updated: start.updated.clone(), sequence: Some(2) };
    assert!(matches!(refused(same), Error::Invalid(_)));

    let good = to(version(writer, 1).block().cid());
    let mut forged = signed(&good, writer);
    forged.signed[3] ^= 1;
    assert!(matches!(node.set_pointer(owner, &forged), Err(Error::Crypto(peergos_crypto::Error::Signature))));
    let other = PointerWrite { writer: writer.hash().clone(), signed: good.sign(&client.identity) };
    assert!(matches!(node.set_pointer(owner, &other), Err(Error::Crypto(peergos_crypto::Error::Signature))));
    let mut long = signed(&good, writer);
    long.signed.resize(148, 0);
    assert_eq!(node.set_pointer(owner, &long).unwrap_err().to_string(), "Pointer update too big! 148");
    for cut in [0, 63, 64, 70] {
        let cut = PointerWrite { writer: writer.hash().clone(), signed: signed(&good, writer).signed[..cut].to_vec() };
        assert!(node.set_pointer(owner, &cut).is_err());
    }

    let stranger = Client::new("mallory");
    let unknown = node.set_pointer(owner, &pointer_write(None, good.updated.clone(), &stranger.writer));
    assert!(matches!(unknown, Err(Error::UnknownWriter(writer)) if writer == *stranger.writer.hash()));
    let unknown = node.set_pointer(stranger.owner(), &signed(&good, writer));
    assert!(matches!(unknown, Err(Error::UnknownOwner(_))));
    assert_eq!(target(&node, &client, writer), Some(start));
    node.set_pointer(owner, &signed(&good, writer)).unwrap();
}

#[test]
fn several_move_together_or_not_at_all() {
    let (_dir, node) = fresh();
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    let keys = [&client.identity, &client.writer];
    let before: Vec<PointerUpdate> = keys.iter().map(|key| target(&node, &client, key).unwrap()).collect();
    let updates: Vec<PointerWrite> = keys
        .iter()
        .zip(&before)
        .map(|(key, before)| {
            let (_, _, mut data) = client.data(&node, key);
            data.unknown.insert("new", true);
            put(&node, &client, key, [data.block()]);
            pointer_write(Some(before), Some(data.block().cid().clone()), key)
        })
        .collect();
    let mut second_wrong = updates.clone();
    second_wrong[1].signed[0] ^= 1;
    assert!(node.set_pointers(client.owner(), &second_wrong).is_err());
    let now: Vec<PointerUpdate> = keys.iter().map(|key| target(&node, &client, key).unwrap()).collect();
    assert_eq!(now, before);
    node.set_pointers(client.owner(), &[]).unwrap();
    node.set_pointers(client.owner(), &updates).unwrap();
    for (key, before) in keys.iter().zip(&before) {
        assert_eq!(target(&node, &client, key).unwrap().original, before.updated);
    }
}

/// Whether the account takes blocks by this key.
fn may_write(node: &EmbeddedNode, client: &Client, key: &SecretSigningKey) -> bool {
    let transaction = node.start_transaction(client.owner()).unwrap();
    let block = champ::empty().sign(key);
    match node.put_blocks(client.owner(), key.hash(), &transaction, Codec::DagCbor, vec![block]) {
        Ok(()) => true,
        Err(Error::UnknownWriter(_)) => false,
        Err(error) => panic!("{error}"),
    }
}

/// A key with data of its own.
fn begin(node: &Arc<EmbeddedNode>, client: &Client, key: &SecretSigningKey) {
    let data = WriterData { owned: Some(champ::empty().cid().clone()), ..version(key, 0) };
    let target = data.block().cid().clone();
    client.publish(&**node, key, None, vec![champ::empty(), data.block()], Some(target)).unwrap();
}

#[test]
fn writers_come_and_go_with_their_proofs() {
    let dir = tempfile::tempdir().unwrap();
    let node = Arc::new(EmbeddedNode::open(dir.path()).unwrap());
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    let [child, grandchild] = [11, 12].map(|i| SecretSigningKey::from_seed(&[i; 32]));
    assert!(!may_write(&node, &client, &child));
    client.own(&node, &client.writer, &[OwnerProof::sign(&child, client.writer.hash())], &[]).unwrap();
    assert!(may_write(&node, &client, &child));
    begin(&node, &client, &child);
    client.own(&node, &child, &[OwnerProof::sign(&grandchild, child.hash())], &[]).unwrap();
    assert!(may_write(&node, &client, &grandchild));
    begin(&node, &client, &grandchild);

    drop(node);
    let node = Arc::new(EmbeddedNode::open(dir.path()).unwrap());
    assert!(may_write(&node, &client, &grandchild));

    // what it owns goes with it
    client.own(&node, &client.writer, &[], &[child.hash().clone()]).unwrap();
    assert!(!may_write(&node, &client, &child));
    assert!(!may_write(&node, &client, &grandchild));
    assert!(may_write(&node, &client, &client.writer));
    // a disowned writer can be deleted, and nothing else
    let last = target(&node, &client, &child).unwrap();
    let moved = pointer_write(Some(&last), Some(champ::empty().cid().clone()), &child);
    assert!(node.set_pointer(client.owner(), &moved).is_err());
    let (_, _, mut data) = client.data(&node, &child);
    data.unknown.insert("more", true);
    put(&node, &client, &client.writer, [data.block()]);
    let moved = pointer_write(Some(&last), Some(data.block().cid().clone()), &child);
    assert!(matches!(node.set_pointer(client.owner(), &moved), Err(Error::UnknownWriter(_))));
    node.set_pointer(client.owner(), &pointer_write(Some(&last), None, &child)).unwrap();
    assert_eq!(target(&node, &client, &child).unwrap().updated, None);
}

#[test]
fn damage_disowns_nobody() {
    let (_dir, node) = fresh();
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    let [child, grandchild, other] = [11, 12, 13].map(|i| SecretSigningKey::from_seed(&[i; 32]));
    client.own(&node, &client.writer, &[OwnerProof::sign(&child, client.writer.hash())], &[]).unwrap();
    begin(&node, &client, &child);
    client.own(&node, &child, &[OwnerProof::sign(&grandchild, child.hash())], &[]).unwrap();
    let lost = target(&node, &client, &child).unwrap().updated.unwrap();
    let core = &node.core;
    let mut batch = Batch::default();
    let id = BlockId::new(core.accounts.of(client.owner()).unwrap().id, &lost).unwrap();
    batch.delete(Table::Blocks, id.to_key());
    core.kv.commit(&batch).unwrap();
    client.own(&node, &client.writer, &[OwnerProof::sign(&other, client.writer.hash())], &[]).unwrap();
    for key in [&child, &grandchild, &other] {
        assert!(may_write(&node, &client, key));
    }
}

#[test]
fn a_writer_can_change_hands_in_one_step() {
    let (_dir, node) = fresh();
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    let [first, second, moving] = [21, 22, 23].map(|i| SecretSigningKey::from_seed(&[i; 32]));
    let proofs = [&first, &second].map(|key| OwnerProof::sign(key, client.writer.hash()));
    client.own(&node, &client.writer, &proofs, &[]).unwrap();
    begin(&node, &client, &first);
    begin(&node, &client, &second);
    client.own(&node, &first, &[OwnerProof::sign(&moving, first.hash())], &[]).unwrap();
    let add = [OwnerProof::sign(&moving, second.hash())];
    let steps = [(&first, &[][..], vec![moving.hash().clone()]), (&second, &add[..], vec![])];
    let pointers: Vec<PointerWrite> = steps
        .into_iter()
        .map(|(parent, add, remove)| {
            let (verified, pointer, mut data) = client.data(&node, parent);
            let source = verified.of(client.owner());
            let owned = crate::owned::update(&source, data.owned.as_ref(), add, &remove).unwrap();
            data.owned = Some(owned.root);
            put(&node, &client, parent, owned.blocks.into_iter().chain([data.block()]));
            pointer_write(Some(&pointer), Some(data.block().cid().clone()), parent)
        })
        .collect();
    node.set_pointers(client.owner(), &pointers).unwrap();
    assert!(may_write(&node, &client, &moving));
}

#[test]
fn bad_proofs_are_refused() {
    let (_dir, node) = fresh();
    let (alice, bob) = (Client::new("alice"), Client::new("bob"));
    alice.sign_up(&*node).unwrap();
    bob.sign_up(&*node).unwrap();
    // bob's writer has never agreed to be alice's
    let stolen = OwnerProof::sign(&bob.writer, bob.owner());
    assert!(matches!(alice.own(&node, &alice.identity, &[stolen], &[]), Err(Error::Invalid(_))));
    assert!(!may_write(&node, &alice, &bob.writer));
    assert!(may_write(&node, &alice, &alice.writer));
    // nor may a proof be missing
    let child = SecretSigningKey::from_seed(&[31; 32]);
    let (verified, pointer, mut data) = alice.data(&node, &alice.identity);
    let proof = OwnerProof::sign(&child, alice.owner());
    let source = verified.of(alice.owner());
    let owned = crate::owned::update(&source, data.owned.as_ref(), std::slice::from_ref(&proof), &[]).unwrap();
    data.owned = Some(owned.root);
    let without = owned.blocks.into_iter().filter(|block| block.cid() != proof.block().cid());
    let blocks = without.chain([data.block()]).collect();
    let target = Some(data.block().cid().clone());
    let refused = alice.publish(&*node, &alice.identity, Some(&pointer), blocks, target);
    assert!(matches!(refused, Err(Error::MissingBlock(cid)) if cid == *proof.block().cid()));
}

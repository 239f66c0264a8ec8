//! Blocks and pointers that nobody should send: they are refused, and nothing has changed.

use peergos_crypto::{
    bat::Bat,
    cbor::Value,
    cbor_map,
    cid::{Cid, Codec},
    multibase,
    signing::KeyHash,
};

use super::{
    world::{Unchanged, World, group_by, stranger},
    *,
};
use crate::{
    Block, MAX_BLOCK, PointerUpdate, PointerWrite, SignedBlock, WriterData, embedded::tests::support::*, http::bodies,
    owned::OwnerProof,
};

#[test]
fn blocks_of_others() {
    let world = World::new();
    let bob = Client::new("bob");
    bob.sign_up(&*world.node).unwrap();
    let same = Unchanged::new(&world);
    let data = Value::from("x").encode();
    let cid = Cid::of_block(Codec::DagCbor, &data);
    let good = world.group(Codec::DagCbor, &data);
    let by_stranger = group_by(&stranger(), Codec::DagCbor, &data);
    // a signer that is not the writer, or a writer that is not the owner's
    world.put("dag-cbor", &by_stranger).refused("Invalid signature for block!");
    let put_as = |owner: &KeyHash, writer: &KeyHash, body: &[u8]| world.put_as(owner, writer, "dag-cbor", body);
    put_as(world.owner(), stranger().hash(), &by_stranger).refused("Writer not present on this server:");
    put_as(stranger().hash(), stranger().hash(), &by_stranger).refused("Unknown identity key:");
    put_as(bob.owner(), world.writer(), &good).refused("Writer not present on this server:");
    put_as(world.owner(), bob.writer.hash(), &group_by(&bob.writer, Codec::DagCbor, &data))
        .refused("Writer not present on this server:");
    // a block that introduces its own key is no way in
    let key = stranger().public().to_cbor().encode();
    put_as(world.owner(), stranger().hash(), &group_by(&stranger(), Codec::DagCbor, &key))
        .refused("Writer not present");
    assert!(world.get(&cid, None).ok().is_empty());
    assert_eq!(world.put("dag-cbor", &good).ok().len(), 60);
    assert_eq!(world.get(&cid, None).ok(), data);
    drop(same);
}

#[test]
fn blocks_that_are_none() {
    let world = World::new();
    let _same = Unchanged::new(&world);
    let signed = |data: Vec<u8>| Block::new(Codec::DagCbor, data).sign(&world.client.writer);
    // not canonical, not CBOR, with something after it
    for data in [&b"\x18\x01"[..], b"\xff", b"\x01\x01", b"\xa2\x61b\x01\x61a\x01", b"\x5f\xff", b"\xf9\x00\x00", b""] {
        assert_eq!(world.put("dag-cbor", &world.group(Codec::DagCbor, data)).status, 400, "{data:x?}");
    }
    world.put("raw", &world.group(Codec::Raw, &vec![0; MAX_BLOCK + 1])).refused("Block too big!");
    world.put("raw", &vec![0; 3 * MAX_BLOCK]).refused("Input exceeds maximum size");
    // the digest of another block is signed
    let other = SignedBlock { signature: signed(vec![2]).signature, ..signed(vec![1]) };
    world.put("dag-cbor", &bodies::block_group(&[other])).refused("Invalid signature for block!");
    // nor is a block read that its writer has not signed
    world.put("dag-cbor", &group_by(&stranger(), Codec::DagCbor, b"\xff")).refused("Invalid signature for block!");
    // one bad block in a group spoils it all
    let (good, bad) = (signed(vec![5]), Block::new(Codec::DagCbor, vec![6]).sign(&stranger()));
    let cid = good.block.cid().clone();
    world.put("dag-cbor", &bodies::block_group(&[good, bad])).refused("Invalid signature for block!");
    assert!(world.get(&cid, None).ok().is_empty());
    // BATs that cannot be read later, and a list that is not one
    let hidden = cbor_map! { "bats" => "none" }.encode();
    assert_eq!(world.put("dag-cbor", &world.group(Codec::DagCbor, &hidden)).status, 400);
    let prefix = hex::decode("711d10cf3d322f2bff").unwrap();
    assert_eq!(world.put("raw", &world.group(Codec::Raw, &prefix)).status, 400);
}

#[test]
fn blocks_without_their_token() {
    let world = World::new();
    let (mirror, wrong) = (world.client.mirror_bat(), Bat::from_bytes([6; 32]));
    let cid = world.fragment.cid();
    world.get(cid, None).refused("Unauthorised!");
    world.get(cid, Some(&wrong)).refused("Unauthorised!");
    assert_eq!(world.get(cid, Some(&world.token)).ok(), *world.fragment.data());
    let with = |bat: &peergos_crypto::bat::BatWithId| {
        world.storage("block/get", &format!("arg={cid}&bat={}", bat.to_text()), b"")
    };
    assert_eq!(with(&mirror).ok(), *world.fragment.data());
    // the id of the right token with the secret of another
    let forged = peergos_crypto::bat::BatWithId { bat: wrong.clone(), id: mirror.id.clone() };
    with(&forged).refused("Unauthorised!");
    let inline = peergos_crypto::bat::BatWithId { bat: wrong.clone(), id: world.token.chunk_id() };
    with(&inline).refused("Unauthorised!");
    assert_eq!(world.storage("block/get", &format!("arg={cid}&bat=zzz"), b"").status, 400);
    // nor do lookups give out more
    let look = |bat: &str| {
        world.storage("champ/get", &format!("arg={}&arg={}{bat}", world.root(), multibase::hex(&world.key)), b"")
    };
    look("").refused("Unauthorised!");
    look(&format!("&bat={}", wrong.with_chunk_id().to_text())).refused("Unauthorised!");
    let found = look(&format!("&bat={}", world.token.with_chunk_id().to_text())).ok();
    assert!(found.windows(world.entry.data().len()).any(|window| window == world.entry.data()));
    // another account has no copy
    let bob = Client::new("bob");
    bob.sign_up(&*world.node).unwrap();
    let query = format!("arg={cid}&owner={}&bat={}", bob.owner(), world.token.with_chunk_id().to_text());
    assert!(world.post(&format!("/api/v0/block/get?{query}"), b"").ok().is_empty());
}

#[test]
fn pointers_of_others() {
    let world = World::new();
    let bob = Client::new("bob");
    bob.sign_up(&*world.node).unwrap();
    let same = Unchanged::new(&world);
    let now = world.pointer();
    let (blocks, next) = world.client.change(&world.node, vec![(map_key(9), None), (world.key, None)]);
    let transaction = world.node.start_transaction(world.owner()).unwrap();
    world.client.put(&*world.node, &transaction, &blocks).unwrap();
    let update = PointerUpdate::open(&next.signed, &world.client.writer.public()).unwrap();
    let all = |write: &PointerWrite| world.set_pointers(&bodies::pointers(std::slice::from_ref(write)));
    let by = |update: &PointerUpdate| update.sign(&world.client.writer);
    let write = |signed| PointerWrite { writer: world.writer().clone(), signed };

    // somebody else's signature: refused with all, a plain no alone
    let forged = update.sign(&stranger());
    assert_eq!(world.set_pointer(world.writer(), &forged).ok(), [0]);
    assert_eq!(all(&write(forged.clone())).status, 400);
    // somebody else's pointer, under this owner
    let strange = PointerWrite { writer: stranger().hash().clone(), signed: forged };
    assert_eq!(world.set_pointer(stranger().hash(), &strange.signed).ok(), [0]);
    all(&strange).refused("Writer not present on this server:");
    let theirs = bob.change(&world.node, vec![(map_key(1), None)]).1;
    assert_eq!(world.set_pointer(&theirs.writer, &theirs.signed).ok(), [0]);
    // this writer's, with the data of another
    let target = world.client.data(&world.node, &world.client.identity).1.updated;
    let wrong = write(by(&PointerUpdate { updated: target, ..update.clone() }));
    assert_eq!(world.set_pointer(&wrong.writer, &wrong.signed).ok(), [0]);
    all(&wrong).refused("WriterData controller mismatch for");
    // replayed, too early, without a number, from nothing
    let replay = world.node.get_pointer(world.owner(), world.writer()).unwrap().unwrap();
    world.set_pointer(world.writer(), &replay).refused("PointerCAS:");
    all(&write(replay)).refused("PointerCAS:");
    for sequence in [now.sequence, now.sequence.map(|n| n - 1), None] {
        let text = "Invalid sequence number update in mutable pointer:";
        all(&write(by(&PointerUpdate { sequence, ..update.clone() }))).refused(text);
    }
    all(&write(by(&PointerUpdate { original: None, ..update.clone() }))).refused("PointerCAS:");
    // to what is not there, what is none, and what is incomplete
    let absent = Cid::of_block(Codec::DagCbor, b"absent");
    all(&write(by(&PointerUpdate { updated: Some(absent.clone()), ..update.clone() })))
        .refused("Couldn't retrieve WriterData from dht!");
    let entry = Some(world.entry.cid().clone());
    assert_eq!(all(&write(by(&PointerUpdate { updated: entry, ..update.clone() }))).status, 400);
    let torn = WriterData { tree: Some(absent), ..WriterData::new(world.writer().clone()) }.block();
    world.client.put(&*world.node, &transaction, std::slice::from_ref(&torn)).unwrap();
    all(&write(by(&PointerUpdate { updated: Some(torn.cid().clone()), ..update.clone() }))).refused("block");
    // one of two that is wrong
    let both = [next.clone(), strange];
    world.set_pointers(&bodies::pointers(&both)).refused("Writer not present on this server:");
    for body in [&b""[..], b"\x05", b"\xa1\x61p\x81\x05"] {
        assert_eq!(world.set_pointers(body).status, 400);
    }
    drop(same);
    assert_eq!(all(&next).ok(), [1]);
}

#[test]
fn of_updates_at_the_same_moment_one_holds() {
    let world = World::new();
    let before = world.pointer().sequence.unwrap();
    for round in 0..4 {
        let updates = [1, 2, 3, 4].map(|n| {
            let entry = entry(10 * round + n, 50, &[]);
            let change = vec![(map_key(10 * round + n), Some(entry.cid().clone()))];
            let (mut blocks, write) = world.client.change(&world.node, change);
            blocks.push(entry);
            let transaction = world.node.start_transaction(world.owner()).unwrap();
            world.client.put(&*world.node, &transaction, &blocks).unwrap();
            write
        });
        let (world, start) = (&world, &std::sync::Barrier::new(updates.len()));
        let answers: Vec<Answer> = std::thread::scope(|scope| {
            let race = |write: PointerWrite| {
                start.wait();
                world.set_pointers(&bodies::pointers(&[write]))
            };
            let racers = updates.map(|write| scope.spawn(move || race(write)));
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
        assert_eq!(won.len(), 1);
        lost.iter().for_each(|answer| answer.refused("PointerCAS:"));
        assert_eq!(world.pointer().sequence.unwrap(), before + round + 1);
    }
}

#[test]
fn a_writer_cannot_be_claimed() {
    let world = World::new();
    let bob = Client::new("bob");
    bob.sign_up(&*world.node).unwrap();
    let _same = Unchanged::new(&world);
    // bob says that alice's writer is his, but it has not signed that
    let proof = OwnerProof::sign(&stranger(), bob.owner()).to_cbor();
    let signed = proof.as_map("proof").unwrap().get("p").unwrap().clone();
    let forged = OwnerProof::from_cbor(&cbor_map! { "o" => world.writer(), "p" => signed }).unwrap();
    let before = world.node.get_pointer(bob.owner(), bob.owner()).unwrap();
    assert!(bob.own(&world.node, &bob.identity, &[forged], &[]).is_err());
    assert_eq!(world.node.get_pointer(bob.owner(), bob.owner()).unwrap(), before);
    let entry = group_by(&world.client.writer, Codec::DagCbor, &[5]);
    world.put_as(bob.owner(), world.writer(), "dag-cbor", &entry).refused("Writer not present on this server:");
}

#[test]
fn anything_is_answered() {
    let world = World::new();
    let _same = Unchanged::new(&world);
    let calls = [
        "/api/v0/block/put/bulk",
        "/api/v0/block/put",
        "/api/v0/champ/get/bulk",
        "/api/v0/link/get",
        "/peergos/v0/mutable/setPointer",
        "/peergos/v0/mutable/setPointers",
        "/peergos/v0/core/signup",
        "/peergos/v0/core/updateChain",
        "/peergos/v0/core/getUsername",
        "/peergos/v0/login/setLogin",
        "/peergos/v0/login/getLogin",
        "/peergos/v0/bats/addBat",
        "/peergos/v0/social/removeFollowRequest",
        "/peergos/v0/storage/request",
    ];
    let query = format!(
        "owner={0}&writer={0}&arg={0}&username=alice&auth=00&author=00&caps=z1&label=x&bat=z1&batid=z1&req=00&format=raw&transaction=t&signatures=00",
        world.owner()
    );
    for call in calls {
        for (seed, len) in [(1, 0), (2, 1), (3, 40), (4, 900)] {
            let answer = world.post(&format!("{call}?{query}"), &noise(seed, len));
            let is_no = call.ends_with("setPointer") && answer.body == [0];
            assert!(is_no || matches!(answer.status, 400 | 429) && answer.refusal().is_some(), "{call} {answer:?}");
        }
    }
}

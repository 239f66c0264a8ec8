//! What nobody should send: it is refused, and nothing has changed.

use peergos_crypto::{
    bat::Bat,
    cbor::Value,
    cbor_map,
    cid::{Cid, Codec},
    multibase, signed_request, signed_time,
    signing::{KeyHash, SecretSigningKey},
};

use super::{
    world::{World, group_by},
    *,
};
use crate::{
    Block, MAX_BLOCK, PointerUpdate, PointerWrite, SignedBlock, WriterData,
    claim::ClaimLink,
    embedded::{SignUps, tests::support::*},
    http::bodies,
    login::{LoginData, OpLog, Operation},
    owned::OwnerProof,
    quota::SpaceRequest,
};

/// A key that nobody has heard of.
fn stranger() -> SecretSigningKey {
    SecretSigningKey::from_seed(&[42; 32])
}

/// Asserts that an account is as it was.
struct Unchanged<'a>(&'a World, (String, Vec<String>));

impl<'a> Unchanged<'a> {
    fn new(world: &'a World) -> Self {
        Self(world, world.state())
    }
}

impl Drop for Unchanged<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.0.state(), self.1);
        }
    }
}

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
fn requests_that_are_signed_by_others_or_stale() {
    let world = World::new();
    let _same = Unchanged::new(&world);
    let (identity, now) = (&world.client.identity, millis());
    let owner = format!("owner={}", world.owner());
    for (family, call) in
        [("storage", "usage"), ("storage", "quota"), ("storage", "payment-properties"), ("social", "getFollowRequests")]
    {
        world.signed(family, call, &owner, &signed_time::sign(&stranger(), now)).refused("invalid signature");
        for time in [now - 310_000, now + 310_000] {
            let stale = "Stale auth time, is your clock accurate?";
            world.signed(family, call, &owner, &signed_time::sign(identity, time)).refused(stale);
        }
        assert_eq!(world.signed(family, call, &owner, b"").status, 400);
        assert_eq!(world.signed(family, call, &owner, &signed_time::sign(identity, now)).status, 200);
    }
    let calls = ["listMfa", "addTotp", "enableTotp", "addMount", "enableMount", "genBackupCodes", "deleteMfa"];
    for call in calls {
        let query = "username=alice&name=x&code=123456&credid=00";
        let path = format!("peergos/v0/login/{call}");
        let sign = |key: &SecretSigningKey, path: &str, time| signed_request::sign(key, path, time);
        world.signed("login", call, query, &sign(&stranger(), &path, now)).refused("invalid signature");
        world.signed("login", call, query, &sign(&world.client.writer, &path, now)).refused("invalid signature");
        let other = sign(identity, "peergos/v0/bats/addBat", now);
        world.signed("login", call, query, &other).refused("Illegal path for signed request: peergos/v0/bats/addBat");
        let stale = sign(identity, &path, now - 25 * 3_600_000);
        world.signed("login", call, query, &stale).refused("Stale auth time, is your clock accurate?");
    }
    // a BAT whose id is not its hash would open blocks of others
    let bat = Bat::from_bytes([9; 32]);
    let id = world.client.bat.mirror_id();
    let auth = world.client.request_auth("peergos/v0/bats/addBat");
    let query = format!("username=alice&batid={id}&bat={}", bat.to_text());
    world.signed("bats", "addBat", &query, &auth).refused("invalid BAT id");
}

#[test]
fn login_data_of_others() {
    let world = World::new();
    let _same = Unchanged::new(&world);
    let data = LoginData { reader: stranger().public(), ..world.client.login_data() };
    let set = |data: &LoginData, key: &SecretSigningKey| {
        let path = format!("/peergos/v0/login/setLogin?username=alice&auth={}", multibase::hex(&data.authorise(key)));
        world.post(&path, &data.to_cbor().encode())
    };
    set(&data, &stranger()).refused("invalid signature");
    set(&data, &world.client.writer).refused("invalid signature");
    let other = LoginData { username: "bob".into(), ..data.clone() };
    set(&other, &world.client.identity).refused("Invalid login data!");
    let path = format!("/peergos/v0/login/setLogin?username=alice&auth={}", "00".repeat(64));
    world.post(&path, &vec![0; 16_385]).refused("Input exceeds maximum size of 16384 bytes");
    // a change of password that moves another pointer than the identity's
    let pointer = world.client.change(&world.node, vec![(world.key, None)]).1;
    let block = block_write(cbor_block(&Value::from("x")), &world.client.writer);
    let update = LoginData { identity_update: Some((block, pointer)), ..data };
    set(&update, &world.client.identity).refused("Invalid login data!");
}

#[test]
fn guessing_passwords_is_stopped() {
    let world = World::new();
    let author = multibase::hex(&stranger().public().to_cbor().encode());
    let auth = signed_time::sign(&stranger(), millis());
    let guess =
        |_| world.signed("login", "getLogin", &format!("username=alice&author={author}"), &auth).refusal().unwrap();
    let refusals: Vec<String> = (0..21).map(guess).collect();
    assert_eq!(refusals[0], "Incorrect username or password");
    assert!(refusals[20].starts_with("Too many failed logins"), "{}", refusals[20]);
}

#[test]
fn more_than_the_quota() {
    let world = World::new();
    world.node.set_quota("alice", Some(2 << 20)).unwrap();
    let put = |seed| world.put("raw", &world.group(Codec::Raw, &noise(seed, 1 << 20)));
    assert_eq!(put(1).status, 200);
    let full = put(2);
    full.refused("Storage quota reached! \nUsed ");
    assert!(full.header("Trailer").unwrap().contains("%0A"));
    let _same = Unchanged::new(&world);
    let cid = Cid::of_block(Codec::Raw, &noise(2, 1 << 20));
    assert!(world.get(&cid, None).ok().is_empty());
    // what is asked for is noted, and granted by nobody but the operator
    let request = SpaceRequest { username: "alice".into(), bytes: 1 << 40, annual: false, time: millis(), proof: None };
    let ask = |request: &SpaceRequest, key: &SecretSigningKey| {
        let signed = multibase::hex(&key.sign(&request.to_cbor().encode()));
        world.post(&format!("/peergos/v0/storage/request?owner={}&req={signed}", world.owner()), b"")
    };
    ask(&request, &stranger()).refused("invalid signature");
    ask(&SpaceRequest { username: "bob".into(), ..request.clone() }, &world.client.identity)
        .refused("The request is for");
    ask(&SpaceRequest { time: millis() - 310_000, ..request.clone() }, &world.client.identity)
        .refused("Stale auth time");
    assert_eq!(world.node.accounts().unwrap()[0].requested, None);
    assert_eq!(ask(&request, &world.client.identity).status, 200);
    let summary = world.node.accounts().unwrap().remove(0);
    assert_eq!((summary.quota, summary.requested), (Some(2 << 20), Some(1 << 40)));
    world.node.set_quota("alice", Some(4 << 20)).unwrap();
    assert_eq!(world.node.accounts().unwrap()[0].requested, None);
}

#[test]
fn forged_sign_ups() {
    let (_dir, node) = fresh();
    node.admit(SignUps { open: true, quota: None });
    let service = serve(Arc::clone(&node) as _);
    let (alice, bob) = (Client::new("alice"), Client::new("bob"));
    let claim = alice.claim(&node.id().unwrap());
    let sign_up = |log: &OpLog, claim: &ClaimLink| {
        post(&service, "/peergos/v0/core/signup", &bodies::sign_up(&alice.request(claim, log)).unwrap())
    };
    let forge = |change: &dyn Fn(&mut OpLog)| {
        let mut log = alice.op_log();
        change(&mut log);
        log
    };
    let logs = [
        // blocks and pointers by somebody else
        forge(&|log| log.operations.push(Operation::Block(block_write(cbor_block(&Value::from(1i64)), &bob.writer)))),
        forge(&|log| {
            if let Operation::Block(write) = &mut log.operations[0] {
                write.block.signature = bob.writer.sign_detached(b"x");
            }
        }),
        forge(&|log| log.operations.push(Operation::Pointer(pointer_write(None, None, &bob.writer)))),
        // pieces that are missing
        forge(&|log| drop(log.operations.remove(0))),
        forge(&|log| drop(log.operations.pop())),
        forge(&|log| log.operations.clear()),
        // login data and BAT by somebody else
        forge(&|log| {
            log.login = log.login.take().map(|(data, _)| {
                let auth = data.authorise(&bob.identity);
                (data, auth)
            })
        }),
        forge(&|log| {
            let data = bob.login_data();
            let auth = data.authorise(&alice.identity);
            log.login = Some((data, auth));
        }),
        forge(&|log| log.mirror_bat = Some((bob.mirror_bat(), bob.request_auth("peergos/v0/bats/addBat")))),
        forge(&|log| {
            let bat = peergos_crypto::bat::BatWithId { id: bob.bat.mirror_id(), bat: alice.bat.clone() };
            log.mirror_bat = Some((bat, alice.request_auth("peergos/v0/bats/addBat")));
        }),
    ];
    for (n, log) in logs.iter().enumerate() {
        assert_eq!(sign_up(log, &claim).status, 400, "log {n}");
        assert!(node.usernames().is_empty(), "log {n}");
    }
    // the claim of another name, or of another home
    sign_up(&alice.op_log(), &bob.claim(&node.id().unwrap())).refused("");
    let elsewhere = Cid::from_peer_id("12D3KooWEnCzE4uSeniFaCGXQuV1UnYkvqvbQJnYC363S2abgknr").unwrap();
    sign_up(&alice.op_log(), &alice.claim(&elsewhere)).refused("Trying to signup to wrong host!");
    assert_eq!(sign_up(&alice.op_log(), &claim).ok(), [1]);
    // a name that is taken
    let thief = Client { username: "alice".into(), ..Client::new("thief") };
    let stolen = thief.request(&thief.claim(&node.id().unwrap()), &thief.op_log());
    post(&service, "/peergos/v0/core/signup", &bodies::sign_up(&stolen).unwrap()).refused("User already exists");
    assert_eq!(node.get_public_key("alice").unwrap().as_ref(), Some(alice.owner()));
}

#[test]
fn follow_requests() {
    let world = World::new();
    let owner = format!("owner={}", world.owner());
    // all through one client would be too many for the limit on nuisances
    let leave = |n: i64| {
        let request = cbor_map! { "f" => vec![n as u8; 10], "k" => n }.encode();
        (world.node.send_follow_request(world.owner(), &request).unwrap(), request)
    };
    let send = |body: &[u8]| world.post(&format!("/peergos/v0/social/followRequest?{owner}"), body);
    for body in [&b""[..], b"\x05", b"\xa0", b"\xa2\x61k\x01\x61f\x18\x01"] {
        assert_eq!(send(body).status, 400);
    }
    let first = cbor_map! { "f" => 1i64, "k" => 2i64 }.encode();
    assert_eq!(send(&first).ok(), [1]);
    assert_eq!(send(&first).ok(), [1]);
    let list = || {
        let reply = world.signed("social", "getFollowRequests", &owner, &world.client.time_auth()).ok();
        bodies::read_follow_requests(&reply).unwrap()
    };
    assert_eq!(list(), std::slice::from_ref(&first));
    for n in 0..100 {
        assert!(leave(n).0);
    }
    assert!(!leave(100).0);
    assert_eq!(send(&cbor_map! { "f" => 3i64, "k" => 2i64 }.encode()).ok(), [0]);
    assert_eq!(list().len(), 101);
    let remove = |key: &SecretSigningKey, request: &[u8]| {
        world.post(&format!("/peergos/v0/social/removeFollowRequest?{owner}"), &key.sign(request))
    };
    remove(&stranger(), &first).refused("invalid signature");
    assert_eq!(remove(&world.client.identity, b"\x05").ok(), [0]);
    assert_eq!(list().len(), 101);
    assert_eq!(remove(&world.client.identity, &first).ok(), [1]);
    assert!(!list().contains(&first));
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

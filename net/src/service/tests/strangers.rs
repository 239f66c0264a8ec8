//! What nobody should send in the name of others: it is refused, and nothing has changed.

use peergos_crypto::{
    bat::Bat,
    cbor::Value,
    cbor_map,
    cid::{Cid, Codec},
    multibase, signed_request, signed_time,
    signing::SecretSigningKey,
};

use super::{
    world::{Unchanged, World, login_path, stranger},
    *,
};
use crate::{
    claim::ClaimLink,
    embedded::{SignUps, tests::support::*},
    http::bodies,
    login::{LoginData, OpLog, Operation},
    quota::SpaceRequest,
};

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
    let (address, guess) = (world.service.address(), login_path(&stranger()));
    for _ in 0..60 {
        world.get_login("").ok();
        world.post(&guess, b"").refused("Incorrect username or password");
    }
    assert_eq!(world.post(&guess, b"").status, 429);
    assert_eq!(world.get_login("").status, 429);
    // who guesses is stopped, and nobody else
    let mut other = connect_from([127, 0, 0, 2], address);
    send(&mut other, address, "POST", &login_path(&world.client.login), &[], b"");
    assert_eq!(receive(&mut other).unwrap().status, 200);
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

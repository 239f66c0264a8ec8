//! The probes that were made of the reference server: each is answered with its status and its text, or better.

use peergos_crypto::{cbor::Value, cid::Codec, multibase, signed_request, signed_time};
use serde_json::Value as Json;

use super::{
    world::{World, group_by, stranger},
    *,
};
use crate::{ChampCap, PointerUpdate, PointerWrite, embedded::tests::support::*, http::bodies};

/// Keys and blocks of the recording.
const OWNER: &str = "z59vuwzfFDoyEmjnDSBiNE36kDR2EDZoW6LJqDdfaatRBad4ZLa5mXC";
const OTHER_OWNER: &str = "z59vuwzfFDouFx1AZ3EKgzednKVAGcq4grzKBRQ4UYvU4aBmCikvs7x";
const WRITER: &str = "z59vuwzfFDoxvLAuwbSb8eepaqd5R2BahhkUuBYtJfDgaDbtK5fy2C2";
const STRANGER: &str = "z59vuwzfFDot8DuHrJRog8jQx317ui9Ay3L5VQeWJoGFEp6odGuScbh";
const TARGET: &str = "zdpuAsG8XMo1sbErXdaAzmndjJDLMGkPMNRLjE2LzyyXk8jyS";
const ROOT: &str = "zdpuAuWCizeAP8kwAvX3zypCz7FgXEpDHBC3GPN3jEkr9Cs1M";
const KEY: &str = "51a9abf0e27f858be8a39cefb3a215e07bbfd3c4a309e70252519b36c8093c56";
const FRAGMENT: &str = "zb2rhjvhQdNW8UpbX6Dfz9kEcJ4ErgF8TD9gsfmsJo1qxdpCw";
const ABSENT: &str = "zdpuAn1GCitiKfcz4jva8wzBEo3iSSbvjEN38MKcSfaCfUh5j";
const NODE_ID: &str = "dvgqGsMfVfU6MCNi6HxgDCuZKuieiRvFmXjri6H8Sdf5B39t";
/// The quota of the recorded account.
const QUOTA: u64 = 30_000_000;

/// Where our answer is another, and why.
const BETTER: &[(&str, u16, &str)] = &[
    // the reference hangs up on bad signatures and cut bodies, and says to answer (spec 02 §2.3)
    ("put bad signature", 400, "Invalid signature for block!"),
    ("usage wrong signer", 400, "invalid signature"),
    ("quota wrong signer", 400, "invalid signature"),
    ("getUserBats wrong signer", 400, "invalid signature"),
    ("listMfa wrong signer", 400, "invalid signature"),
    ("social followRequests wrong signer", 400, "invalid signature"),
    ("core/getPublicKey empty body", 400, "unexpected structure: data stream is truncated"),
    // texts of its own innards
    ("put without format", 400, "No value present"),
    ("usage no auth", 400, "No value present"),
    ("query param without =", 400, "A parameter has no value"),
    ("put garbage body", 400, "unexpected structure: block group"),
    ("put invalid cbor as dag-cbor", 400, "malformed CBOR"),
    ("setPointer target not WriterData", 400, "invalid WriterData"),
    // blocks that could never be read again are refused (§3.4)
    ("put non canonical cbor 1801", 400, "malformed CBOR: not canonical"),
    // so this one is not there
    ("get non canonical block", 200, ""),
    // names that are free look like wrong passwords (§14.3: to be treated alike)
    ("getLogin unknown user", 400, "Incorrect username or password"),
    // there is no web page here
    ("public link", 405, ""),
];

struct Probe {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// A recorded probe, of our account.
fn probe(world: &World, name: &str, case: &Json) -> Probe {
    let (identity, now) = (&world.client.identity, millis());
    let mut path = case["path"].as_str().unwrap().to_owned();
    let ours = [
        (OWNER, world.owner().to_string()),
        (OTHER_OWNER, world.owner().to_string()),
        (WRITER, world.writer().to_string()),
        (STRANGER, stranger().hash().to_string()),
        (TARGET, world.pointer().updated.unwrap().to_string()),
        (ROOT, world.root().to_string()),
        (KEY, multibase::hex(&world.key)),
        (FRAGMENT, world.fragment.cid().to_string()),
    ];
    ours.iter().for_each(|(theirs, our)| path = path.replace(theirs, our));
    if name.contains("21 caps") {
        // the recorded one was cut off
        let cap = ChampCap { map_key: world.key, bat: None };
        set(&mut path, "caps", &bodies::champ_caps(&vec![cap; 21]));
    }
    if !name.contains("wrong bat") {
        set(&mut path, "bat", &world.token.with_chunk_id().to_text());
    }
    let key = if name.contains("wrong signer") { stranger() } else { identity.clone() };
    let time = if name.contains("stale") { now - 400_000 } else { now };
    let method = path.strip_prefix('/').unwrap().split('?').next().unwrap();
    let signed_path = if name.contains("wrong path") { "peergos/v0/bats/addBat" } else { method };
    let auth = if name.starts_with("getLogin") {
        set(&mut path, "author", &multibase::hex(&stranger().public().to_cbor().encode()));
        signed_time::sign(&stranger(), time)
    } else if ["bats/", "listMfa", "server-message"].iter().any(|family| path.contains(family)) {
        signed_request::sign(&key, signed_path, time)
    } else {
        signed_time::sign(&key, time)
    };
    set(&mut path, "auth", &multibase::hex(&auth));
    let mut headers = Vec::new();
    let mut arguments = case["curlArgs"].as_array().into_iter().flatten().map(|argument| argument.as_str().unwrap());
    let mut method = case["method"].as_str().unwrap_or("POST").to_owned();
    while let Some(argument) = arguments.next() {
        match argument {
            "-X" => method = arguments.next().unwrap().to_owned(),
            "-H" => {
                let (name, value) = arguments.next().unwrap().split_once(": ").unwrap();
                let id = multibase::base58_encode(&world.node.id().unwrap().to_bytes());
                let value = value.replace("29101", &world.service.address().port().to_string()).replace(NODE_ID, &id);
                headers.push((name.to_owned(), value));
            }
            _ => {}
        }
    }
    if name.contains("Origin") {
        headers.push(("Origin".into(), "https://evil.example".into()));
    }
    if name == "multipart put" {
        headers.push(("Content-Type".into(), "multipart/form-data;charset=UTF-8; boundary=XXYYZZ".into()));
    }
    Probe { method, path, headers, body: body(world, name) }
}

/// Sets a parameter that is there.
fn set(path: &mut String, name: &str, value: &str) {
    let key = format!("{name}=");
    let parts = path.split_inclusive(['?', '&']).map(|part| {
        let rest = if part.ends_with('&') { "&" } else { "" };
        if part.starts_with(&key) { format!("{key}{value}{rest}") } else { part.to_owned() }
    });
    *path = parts.collect();
}

/// The recording has only the lengths of bodies.
fn body(world: &World, name: &str) -> Vec<u8> {
    let writer = &world.client.writer;
    let text = Value::from("probe").encode();
    let cbor = |data: &[u8]| world.group(Codec::DagCbor, data);
    let raw = |len| world.group(Codec::Raw, &vec![7; len]);
    let now = world.pointer();
    let next = PointerUpdate {
        original: now.updated.clone(),
        updated: Some(ABSENT.parse().unwrap()),
        sequence: now.sequence.map(|n| n + 1),
    };
    let pointer = |change: &dyn Fn(&mut PointerUpdate)| {
        let mut update = next.clone();
        change(&mut update);
        update.sign(writer)
    };
    let other = |update: &mut PointerUpdate| {
        update.updated = world.client.data(&world.node, &world.client.identity).1.updated;
    };
    let stale = |update: &mut PointerUpdate| {
        update.original = Some(ABSENT.parse().unwrap());
        update.updated = now.updated.clone();
    };
    let all = |signed| bodies::pointers(&[PointerWrite { writer: world.writer().clone(), signed }]);
    match name {
        "put ok" | "put unknown format" | "put without format" | "put unknown transaction" | "blockstore/auth" => {
            cbor(&text)
        }
        "put bad signature" | "put unknown writer" | "put unknown owner" => {
            group_by(&stranger(), Codec::DagCbor, &text)
        }
        "put signature of other hash" => {
            let mut group = cbor(&text);
            // the digest is the end of the body
            let last = group.len() - 1;
            group[last] ^= 1;
            group
        }
        "put signature count mismatch" => hex::decode("a26162814670726f626531617380").unwrap(),
        "put raw too big (1048677)" => raw(1_048_677),
        "put raw max (1048676)" => raw(1_048_676),
        "put invalid cbor as dag-cbor" => cbor(b"\xff"),
        "put non canonical cbor 1801" => cbor(b"\x18\x01"),
        "put garbage body" => vec![1, 2, 3],
        "multipart put" => b"--XXYYZZ\r\nA: b\r\n\r\nprobe\r\n--XXYYZZ--\r\n".to_vec(),
        "setPointer CAS mismatch" => pointer(&stale),
        "setPointer CAS mismatch (claimed empty)" => pointer(&|update| update.original = None),
        "setPointer bad sequence" => pointer(&|update| update.sequence = now.sequence),
        "setPointer no sequence" => pointer(&|update| update.sequence = None),
        "setPointer target absent" => pointer(&|_| {}),
        "setPointer target not WriterData" => {
            world.put("dag-cbor", &cbor(&text)).ok();
            pointer(&|update| update.updated = Some(cbor_block(&Value::from("probe")).cid().clone()))
        }
        "setPointer controller mismatch" => pointer(&other),
        "setPointers controller mismatch" => all(pointer(&other)),
        "setPointers CAS mismatch" => all(pointer(&stale)),
        "setPointers empty list" => bodies::pointers(&[]),
        "setPointer wrong signer" => next.sign(&stranger()),
        "setPointer oversize" => vec![0; 200],
        "setPointer oversize 2000" => vec![0; 2000],
        "setPointer unknown writer" => {
            PointerUpdate { original: None, updated: now.updated, sequence: Some(1) }.sign(&stranger())
        }
        "setPointer replay of current" => world.node.get_pointer(world.owner(), world.writer()).unwrap().unwrap(),
        "core/getPublicKey unknown" | "core/getChain unknown" => bodies::username("nosuchuser").unwrap(),
        "core/getUsername known" => bodies::identity(world.owner()),
        "core/getUsername unknown" => bodies::identity(stranger().hash()),
        "core/updateChain bad" => bodies::ChainUpdate {
            username: "Not A Name".into(),
            links: vec![0x80],
            proof_of_work: peergos_crypto::pow::ProofOfWork::none().to_cbor().encode(),
            token: String::new(),
        }
        .to_bytes()
        .unwrap(),
        "social followRequest oversize" => vec![0; 5000],
        "HTTP chunked body" => b"0\r\n\r\n".to_vec(),
        "fill 26" => {
            fill(world, &|_| world.node.usage(world.owner(), &world.client.time_auth()).unwrap() + 1_000_000 > QUOTA)
        }
        "fill 28" => fill(world, &|group| {
            world.put("raw", group).refusal().is_some_and(|text| text.starts_with("Upload bandwidth exceeded"))
        }),
        _ => Vec::new(),
    }
}

/// Puts fragments until there is one that will be refused.
fn fill(world: &World, will_be_refused: &dyn Fn(&[u8]) -> bool) -> Vec<u8> {
    for seed in 100..200 {
        let group = world.group(Codec::Raw, &noise(seed, 1_000_000));
        if will_be_refused(&group) {
            return group;
        }
        world.put("raw", &group);
    }
    panic!("there is always room");
}

/// A text without what differs from account to account.
fn general(text: &str) -> String {
    let word = |word: &str| match word {
        word if word.len() > 40 => "CID".to_owned(),
        word if !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit()) => "N".to_owned(),
        word => word.to_owned(),
    };
    let mut words = Vec::new();
    for piece in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let end = piece.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        words.push(word(end) + &piece[end.len()..]);
    }
    words.concat()
}

/// The status and text that were recorded; none where the reference has hung up.
fn recorded(case: &Json) -> Option<(u16, String)> {
    if let Some(head) = case["statusLine"].as_str() {
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let text = head.lines().find_map(|line| line.strip_prefix("Trailer: "));
        return Some((status, text.map_or_else(String::new, |text| trailer::decode(text.as_bytes()))));
    }
    let status = u16::try_from(case["status"].as_i64()?).ok()?;
    Some((status, case["trailerDecoded"].as_str().unwrap_or_default().to_owned()))
}

#[test]
fn every_probe_is_answered() {
    let text = include_str!("../../../../tests/vectors/02-http-errors.json");
    let probes: Json = serde_json::from_str(text).unwrap();
    let world = World::named("bobprobe2");
    world.node.set_quota("bobprobe2", Some(QUOTA)).unwrap();
    let cases = probes["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 111);
    let mut wrong = Vec::new();
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let Probe { method, path, headers, body } = probe(&world, name, case);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let answer = ask(world.service.address(), &method, &path, &headers, &body);
        let found = (answer.status, answer.refusal().unwrap_or_default());
        let better = BETTER.iter().find(|(better, ..)| *better == name);
        let is_right = match (better, recorded(case)) {
            (Some((_, status, text)), _) => found.0 == *status && found.1.starts_with(text),
            (None, Some((status, text))) => found.0 == status && general(&found.1) == general(&text),
            (None, None) => false,
        };
        if !is_right {
            wrong.push(format!("{name}: {found:?} instead of {:?}", recorded(case)));
        }
        // short replies say the same of any account, but for what it uses
        let reply = case["resp"].as_str().map(|reply| hex::decode(reply).unwrap()).filter(|reply| reply.len() <= 14);
        let is_same = !name.starts_with("usage") && !name.starts_with("link-host");
        if let Some(reply) = reply.filter(|_| found.0 == 200 && is_same && better.is_none())
            && case["respLen"] == reply.len()
            && answer.body != reply
        {
            wrong.push(format!("{name}: {:x?} instead of {reply:x?}", answer.body));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn texts_are_compared_without_names_and_numbers() {
    assert_eq!(general(&format!("PointerCAS:{TARGET},5,EMPTY")), "PointerCAS:CID,N,EMPTY");
    assert_eq!(general("Optional[5] => Optional.empty"), "Optional[N] => Optional.empty");
}

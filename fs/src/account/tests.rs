//! Accounts of the reference opened, and accounts of our own made and opened again.

mod changes;
mod factors;
mod hosted;
mod upkeep;
mod watched;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use peergos_crypto::{cbor::Value, cid::Cid, signing::KeyHash, symmetric::SymmetricKey};
use peergos_net::{
    Error as NetError, PointerUpdate, SignUp, Verified, WriterData,
    login::{LoginResponse, Operation},
};
use serde_json::Value as Json;

use self::hosted::{Hosted, NOW_MILLIS};
use super::*;
use crate::{
    Error,
    cryptree::{Children, Node as CryptreeNode},
};

const SERVER: &str = "zdvgqGsMfVfU6MCNi6HxgDCuZKuieiRvFmXjri6H8Sdf5B39t";
const OTHER_SERVER: &str = "zdvgq1QytJnbSZiAGiduxkd7hnhdnpHqBSfYGiCyG1YQjLEij";
const PASSWORD: &str = "correct horse";

fn now() -> SystemTime {
    // with as many digits as most times have, for what is padded depends on them
    UNIX_EPOCH + Duration::from_millis(NOW_MILLIS as u64) + Duration::from_nanos(303_591)
}

fn vectors(file: &str) -> Json {
    let path = format!("{}/../tests/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn text<'a>(json: &'a Json, key: &str) -> &'a str {
    json[key].as_str().unwrap()
}

fn bytes(json: &Json, key: &str) -> Vec<u8> {
    hex::decode(text(json, key)).unwrap()
}

fn key(json: &Json, key: &str) -> SymmetricKey {
    SymmetricKey::from_bytes(bytes(json, key).try_into().unwrap())
}

fn node(id: &str) -> (Arc<Hosted>, Arc<Verified>) {
    let hosted = Arc::new(Hosted::new(id.parse().unwrap()));
    (hosted.clone(), verified(&hosted))
}

fn verified(hosted: &Arc<Hosted>) -> Arc<Verified> {
    Arc::new(Verified::new(hosted.clone(), Default::default()))
}

/// A node with an account that the reference made.
fn recorded(account: &Json) -> (Arc<Hosted>, Arc<Verified>) {
    let (hosted, verified) = node(SERVER);
    let request = SignUp {
        username: text(account, "username").to_owned(),
        claim: bytes(account, "username_claim_link_cbor"),
        op_log: bytes(account, "oplog_cbor"),
        proof_of_work: bytes(account, "proof_of_work_cbor"),
        token: String::new(),
    };
    hosted.take(&request).unwrap();
    (hosted, verified)
}

/// A node with an account of our own.
fn made(username: &str) -> (Arc<Hosted>, Arc<Verified>, Account) {
    let (hosted, verified) = node(SERVER);
    let account = sign_up(&*hosted, username, PASSWORD, "", now(), &mut |_: Step| {}).unwrap();
    (hosted, verified, account)
}

fn open(node: &Arc<Verified>, username: &str, password: &str) -> Result<Account> {
    log_in(node, username, password, None, now(), &mut |_: Step| {})
}

#[test]
fn entry_points_of_the_reference() {
    let vectors = vectors("01-account.json");
    for (name, has_identity) in [("current", true), ("legacy", false)] {
        let account = &vectors[name];
        let encoded = bytes(account, "entry_points_cbor");
        let points = EntryPoints::from_cbor(&Value::decode(&encoded).unwrap()).unwrap();
        assert_eq!(points.identity.is_some(), has_identity, "{name}");
        assert_eq!(points.to_cbor().encode(), encoded, "{name}");
        let sealed = points.seal(&key(account, "login_root_key")).unwrap();
        assert_eq!(sealed.data.len() as u64, 16 + account["entry_points_padded_plaintext_len"].as_u64().unwrap());
        let opened = EntryPoints::open(&sealed, &key(account, "login_root_key")).unwrap();
        assert_eq!(opened.to_cbor().encode(), encoded, "{name}");
    }
    let current = &vectors["current"];
    let LoginResponse::EntryPoints(sealed) =
        LoginResponse::from_cbor(&Value::decode(&bytes(current, "getLogin_response")).unwrap()).unwrap()
    else {
        panic!("a second factor")
    };
    let sealed = peergos_crypto::symmetric::CipherText::from_cbor(&sealed).unwrap();
    let opened = EntryPoints::open(&sealed, &key(current, "login_root_key")).unwrap();
    assert_eq!(opened.to_cbor().encode(), bytes(current, "entry_points_cbor"));
}

#[test]
fn damaged_entry_points_are_refused() {
    let encoded = bytes(&vectors("01-account.json")["current"], "entry_points_cbor");
    let decode = |bytes: &[u8]| EntryPoints::from_cbor(&Value::decode(bytes)?);
    for at in 0..encoded.len() {
        let mut changed = encoded.clone();
        changed[at] ^= 1;
        // most changes are of keys, which cannot be told from others; no change may do more harm than that
        if let Ok(points) = decode(&changed) {
            assert_ne!(points.to_cbor().encode(), encoded, "byte {at}");
        }
        assert!(decode(&encoded[..at]).is_err(), "cut to {at}");
    }
    let mut newer = Value::decode(&encoded).unwrap();
    let Value::Map(map) = &mut newer else { panic!("not a map") };
    map.insert("v", 3u32);
    assert!(EntryPoints::from_cbor(&newer).is_err());
}

#[test]
fn logs_in_to_accounts_of_the_reference() {
    for name in ["current", "legacy"] {
        let vectors = &vectors("01-account.json")[name];
        let (_, node) = recorded(vectors);
        let (username, password) = (text(vectors, "username"), text(vectors, "password"));
        let account = open(&node, username, password).unwrap();
        let cap = &vectors["root_cap"];
        assert_eq!(account.username, username);
        assert_eq!(account.owner.to_string(), text(cap, "owner"));
        assert_eq!(account.identity.hash(), &account.owner);
        assert_eq!(account.home.writer.to_string(), text(cap, "writer"));
        assert_eq!(account.home.map_key.0[..], bytes(cap, "map_key"));
        assert_eq!(account.home.read, key(cap, "read_key"));
        assert_eq!(account.home.write, Some(key(cap, "write_key")));
        let secret = Value::Array(vec![1u32.into(), bytes(&vectors["root_dir"], "writer_secret").into()]);
        assert_eq!(account.home_signer.to_cbor(), secret);
        assert_eq!(account.keys.root, key(vectors, "login_root_key"));
        assert!(account.mirror_bat.is_some());
        if let Some(identity) = vectors["identity_secret"].as_str() {
            let secret = Value::Array(vec![1u32.into(), hex::decode(identity).unwrap().into()]);
            assert_eq!(account.identity.to_cbor(), secret);
        }

        let wrong = open(&node, username, &format!("{password} ")).unwrap_err();
        assert!(matches!(wrong, Error::Net(NetError::IncorrectLogin)), "{wrong:?}");
        assert!(matches!(open(&node, "nobody", password), Err(Error::UnknownUser)));
    }
}

/// What is in the home directory: the names with whether they are hidden.
fn home_entries(hosted: &Hosted, account: &Account) -> Vec<(String, bool)> {
    let hosted = hosted.account.lock();
    let nodes: Vec<CryptreeNode> =
        hosted.blocks.values().filter_map(|block| CryptreeNode::decode(block).ok()).collect();
    let home = nodes.iter().find_map(|node| Some((node, node.open(&account.home.read).ok()?))).unwrap();
    assert_eq!(home.1.properties.name, account.username);
    assert!(home.1.parent.is_none() && !home.1.properties.hidden && home.1.signer.is_some());
    let Children::Named(children) = home.0.children(&account.home.read, &[]).unwrap() else { panic!("legacy list") };
    let mut entries = Vec::new();
    for child in children {
        let cap = child.cap.absolutise(&account.home).unwrap();
        assert!(cap.write.is_some(), "{} can be written", child.name);
        let opened = nodes.iter().find_map(|node| node.open(&cap.read).ok()).unwrap();
        assert_eq!(opened.properties.name, child.name);
        let parent = opened.parent.unwrap();
        assert_eq!((parent.map_key, parent.read), (account.home.map_key, home.1.parent_key.clone()));
        entries.push((child.name, opened.properties.hidden));
    }
    entries
}

#[test]
fn sign_up_makes_what_the_reference_makes() {
    let (hosted, node, account) = made("carol");
    assert_eq!(
        home_entries(&hosted, &account),
        [("shared", true), (".transactions", true), (".capabilitycache", true)].map(|(n, h)| (n.to_owned(), h))
    );

    // the same blocks by size, but for the CHAMP of the home: its size depends on the random places in it
    let recorded = vectors("02-signup-oplog.json");
    let recorded = recorded["ops"].as_array().unwrap();
    let mut expected: Vec<u64> = recorded.iter().filter_map(|op| op["size"].as_u64()).collect();
    let hosted_account = hosted.account.lock();
    let mut sizes: Vec<u64> = hosted_account.blocks.values().map(|block| block.len() as u64).collect();
    let is_champ = |size: &u64| (200..=320).contains(size) && *size != 251;
    assert_eq!((sizes.iter().filter(|s| is_champ(s)).count(), expected.iter().filter(|s| is_champ(s)).count()), (1, 1));
    sizes.retain(|size| !is_champ(size));
    expected.retain(|size| !is_champ(size));
    sizes.sort_unstable();
    expected.sort_unstable();
    assert_eq!(sizes, expected);

    // the identity's blocks and pointer come first, then those of the home
    let writers: Vec<&KeyHash> = hosted_account
        .op_log
        .operations
        .iter()
        .map(|operation| match operation {
            Operation::Block(write) => &write.writer,
            Operation::Pointer(write) => &write.writer,
        })
        .collect();
    let (identity, home) = writers.split_at(5);
    assert!(identity.iter().all(|writer| **writer == account.owner));
    assert!(home.iter().all(|writer| **writer == account.home.writer));
    assert!(hosted_account.op_log.to_cbor().encode().len() <= 1 << 16);
    drop(hosted_account);

    let again = open(&node, "carol", PASSWORD).unwrap();
    assert_eq!(again.home, account.home);
    assert_eq!(again.owner, account.owner);
    assert_eq!(again.home_signer.to_cbor(), account.home_signer.to_cbor());
    assert_eq!(again.identity.to_cbor(), account.identity.to_cbor());
    assert_eq!(again.boxing.to_cbor(), account.boxing.to_cbor());
    assert_eq!(again.mirror_bat, account.mirror_bat);
    assert_eq!(again.keys.root, account.keys.root);
}

#[test]
fn names_and_passwords_that_cannot_be() {
    let (hosted, _, _) = made("carol");
    let sign_up =
        |name: &str, password: &str| sign_up(&*hosted, name, password, "", now(), &mut |_: Step| {}).unwrap_err();
    assert!(matches!(sign_up("carol", "x"), Error::UsernameTaken));
    assert!(matches!(sign_up("dave", "dave"), Error::Crypto(_)));
    for name in ["", "Carol", "a b", "-a", "a--b", "admin", "a/b", "café", &"a".repeat(33)] {
        assert!(matches!(sign_up(name, "x"), Error::InvalidUsername), "{name:?}");
    }
}

#[test]
fn works_as_hard_as_the_server_asks() {
    let (hosted, _) = node(SERVER);
    *hosted.difficulties.lock() = vec![9, 9];
    sign_up(&*hosted, "carol", PASSWORD, "", now(), &mut |_: Step| {}).unwrap();

    let (hosted, _) = node(SERVER);
    // a proof for less work passes by chance once in 2^20 times
    *hosted.difficulties.lock() = vec![30, 20];
    let greedy = sign_up(&*hosted, "carol", PASSWORD, "", now(), &mut |_: Step| {});
    assert!(matches!(greedy, Err(Error::Overloaded)), "{greedy:?}");
}

#[test]
fn an_account_without_mirror_bat_gets_one() {
    let (hosted, node, _) = made("carol");
    hosted.account.lock().bats.clear();
    let first = open(&node, "carol", PASSWORD).unwrap().mirror_bat;
    assert!(first.is_some());
    assert_eq!(hosted.account.lock().bats, first.clone().into_iter().collect::<Vec<_>>());
    hosted.account.lock().bats.push(new_mirror_bat().unwrap());
    let newest = open(&node, "carol", PASSWORD).unwrap().mirror_bat;
    assert_eq!(newest.as_ref(), hosted.account.lock().bats.last());
}

/// Replaces the data of a writer, as a server with its key could.
fn rewrite(hosted: &Hosted, signer: &SecretSigningKey, change: impl FnOnce(&mut WriterData)) {
    let mut account = hosted.account.lock();
    let current = PointerUpdate::open(&account.pointers[signer.hash()], &signer.public()).unwrap();
    let block = account.blocks[current.updated.as_ref().unwrap()].clone();
    let mut data = WriterData::decode(&block, signer.hash()).unwrap();
    change(&mut data);
    let block = data.block();
    let next = PointerUpdate::next(Some(&current), Some(block.cid().clone()));
    account.blocks.insert(block.cid().clone(), block.data().clone());
    account.pointers.insert(signer.hash().clone(), next.sign(signer));
}

#[test]
fn what_is_not_the_accounts_is_refused() {
    // a home in a writing space that the identity does not own
    let (hosted, _, account) = made("carol");
    rewrite(&hosted, &account.identity, |data| data.owned = None);
    let error = open(&verified(&hosted), "carol", PASSWORD).unwrap_err();
    assert!(matches!(error, Error::Damaged(_)), "{error:?}");

    // the entry points of another identity
    let (hosted, _, account) = made("carol");
    let stranger = SecretSigningKey::generate().unwrap();
    let points = EntryPoints::new("carol", account.home.clone(), stranger, account.boxing.clone());
    let sealed = points.seal(&account.keys.root).unwrap().to_cbor();
    hosted.account.lock().op_log.login.as_mut().unwrap().0.entry_points = sealed;
    let error = open(&verified(&hosted), "carol", PASSWORD).unwrap_err();
    assert!(matches!(error, Error::Damaged(_)), "{error:?}");

    // a weak derivation, which would let the server guess the password
    let (hosted, _, account) = made("carol");
    rewrite(&hosted, &account.identity, |data| {
        let Some(Value::Map(algorithm)) = &mut data.algorithm else { panic!("no algorithm") };
        algorithm.insert("m", 15u32);
    });
    let error = open(&verified(&hosted), "carol", PASSWORD).unwrap_err();
    assert!(matches!(error, Error::Crypto(peergos_crypto::Error::Derivation(_))), "{error:?}");

    // a deleted account
    let (hosted, _, account) = made("carol");
    let current = hosted.account.lock().pointers[&account.owner].clone();
    let current = PointerUpdate::open(&current, &account.identity.public()).unwrap();
    let deleted = PointerUpdate::next(Some(&current), None).sign(&account.identity);
    hosted.account.lock().pointers.insert(account.owner.clone(), deleted);
    assert!(matches!(open(&verified(&hosted), "carol", PASSWORD), Err(Error::AccountDeleted)));
}

#[test]
fn an_entry_point_under_a_former_identity_is_ours() {
    let (_, _, account) = made("carol");
    let former = SecretSigningKey::generate().unwrap();
    let stale = Capability { owner: former.hash().clone(), ..account.home.clone() };
    let points = EntryPoints::new("carol", stale, account.identity.clone(), account.boxing.clone());
    assert_eq!(points.home("carol", &account.owner), Some(account.home.clone()));
    assert_eq!(points.home("dave", &account.owner), None);
}

#[test]
fn claims_are_kept() {
    let month = Duration::from_secs(31 * 86_400);
    let (hosted, _, mut account) = made("carol");
    let chain = || hosted.account.lock().chain.clone();
    let first = chain();
    keep_claim(&*hosted, &mut account, None, now()).unwrap();
    assert_eq!(chain(), first, "a month and more is left");
    hosted.difficulties.lock().push(5);
    keep_claim(&*hosted, &mut account, None, now() + month).unwrap();
    assert_ne!(chain(), first);
    let renewed = chain();
    keep_claim(&*hosted, &mut account, None, now() + month).unwrap();
    assert_eq!(chain(), renewed);
}

#[test]
fn an_imported_account_moves_in() {
    let vectors = &vectors("01-account.json")["current"];
    let (there, _) = recorded(vectors);
    let (here, node) = node(OTHER_SERVER);
    *here.account.lock() = std::mem::take(&mut *there.account.lock());
    let mut account = open(&node, text(vectors, "username"), text(vectors, "password")).unwrap();
    let home = OTHER_SERVER.parse().unwrap();
    keep_claim(&*here, &mut account, Some(&home), now()).unwrap();
    let chain = Value::decode(&here.account.lock().chain).unwrap();
    let chain =
        peergos_net::claim::ClaimChain::verify(&account.username, peergos_net::claim::links_from_cbor(&chain).unwrap())
            .unwrap();
    assert_eq!(chain.home(), &OTHER_SERVER.parse::<Cid>().unwrap());
    assert_eq!(chain.identity(), &account.owner);
}

//! Passwords changed, accounts of the old kind taken along, accounts deleted, on a real node.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use peergos_net::{
    Block, CacheSizes, EmbeddedNode, Node as _,
    archive::{AccountState, CarWriter},
    claim::links_from_cbor,
};
use tempfile::TempDir;

use super::{
    watched::{Rounds, Watched, When, broken},
    *,
};

pub const NEW: &str = "battery staple";

/// A node with a client that remembers nothing of other clients.
pub struct Home {
    pub node: Arc<Watched>,
    _dir: TempDir,
}

impl Home {
    pub fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { node: Arc::new(Watched::new(EmbeddedNode::open(dir.path()).unwrap())), _dir: dir }
    }

    pub fn with_ada() -> (Self, Account) {
        let home = Self::empty();
        let account = sign_up(&*home.node, "ada", PASSWORD, "", SystemTime::now(), &mut |_: Step| {}).unwrap();
        (home, account)
    }

    pub fn client(&self) -> Arc<Verified> {
        Arc::new(Verified::new(self.node.clone(), CacheSizes::default()))
    }

    pub fn open(&self, username: &str, password: &str) -> Result<Account> {
        log_in(&self.client(), username, password, None, SystemTime::now(), &mut |_: Step| {})
    }

    fn change(&self, account: &Account) -> Result<Account> {
        change_password(&self.client(), account, NEW, SystemTime::now(), &mut |_: Step| {})
    }

    fn opens(&self, username: &str, password: &str) -> bool {
        match self.open(username, password) {
            Ok(_) => true,
            Err(Error::Net(NetError::IncorrectLogin)) => false,
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[test]
fn a_login_takes_four_rounds_after_the_keys() {
    let (home, account) = Home::with_ada();
    let find: [&[&str]; 3] = [&["get_chain"], &["get_pointer"], &["get_block"]];
    let open: [&[&str]; 4] =
        [&["get_login"], &["get_user_bats", "get_pointer", "get_block"], &["get_block", "get_block"], &["champ_get"]];
    let rounds = Arc::new(Rounds::new(&[&find[..], &open].concat()));
    home.node.watch({
        let rounds = Arc::clone(&rounds);
        move |call, when| if when == When::Before { rounds.call(call) } else { Ok(()) }
    });
    assert_eq!(home.open("ada", PASSWORD).unwrap().home, account.home);
    assert_eq!(rounds.left(), 0);
}

#[test]
fn keys_are_derived_meanwhile_if_their_costs_are_known() {
    let (home, account) = Home::with_ada();
    let other = Algorithm::generate().unwrap();
    for (expected, derivations) in [(&account.algorithm, 1), (&other, 2)] {
        let mut steps = Vec::new();
        let mut tell = |step: Step| steps.push(step);
        let opened = log_in(&home.client(), "ada", PASSWORD, Some(expected), SystemTime::now(), &mut tell).unwrap();
        assert_eq!(opened.algorithm, account.algorithm);
        assert_eq!(steps.iter().filter(|step| **step == Step::DerivingKeys).count(), derivations);
    }
}

#[test]
fn another_password() {
    let (home, account) = Home::with_ada();
    let changed = home.change(&account).unwrap();
    assert!(!home.opens("ada", PASSWORD));
    let opened = home.open("ada", NEW).unwrap();
    assert_eq!((&opened.owner, &opened.home), (&account.owner, &account.home));
    assert_eq!(opened.home_signer.to_cbor(), account.home_signer.to_cbor());
    assert_eq!(opened.keys.root, changed.keys.root);
    assert_ne!(opened.algorithm, account.algorithm, "a salt is used once");
    assert!(matches!(
        change_password(&home.client(), &opened, "ada", SystemTime::now(), &mut |_: Step| {}),
        Err(Error::Crypto(_))
    ));
}

#[test]
fn a_change_that_breaks_off_leaves_one_password() {
    // the request is lost, or its answer; then the old or the new password holds
    for (when, holds) in [(When::Before, PASSWORD), (When::After, NEW)] {
        let (home, account) = Home::with_ada();
        home.node.watch(move |call, at| if call == "set_login" && at == when { Err(broken()) } else { Ok(()) });
        assert_eq!(home.change(&account).is_ok(), holds == NEW);
        home.node.watch(|_, _| Ok(()));
        for password in [PASSWORD, NEW] {
            assert_eq!(home.opens("ada", password), password == holds, "{when:?} {password}");
        }
    }
    // everything is lost from there on
    let (home, account) = Home::with_ada();
    let dead = AtomicBool::new(false);
    home.node.watch(move |call, at| {
        dead.fetch_or(call == "set_login" && at == When::After, Ordering::Relaxed);
        if dead.load(Ordering::Relaxed) { Err(broken()) } else { Ok(()) }
    });
    assert!(matches!(home.change(&account), Err(Error::PasswordUncertain)));
}

#[test]
fn a_change_keeps_what_other_clients_did() {
    let (home, account) = Home::with_ada();
    let identity = account.identity.clone();
    // another client changes the identity's data just before
    let (other, first) = (Arc::downgrade(&home.node), AtomicUsize::new(0));
    let change = move || {
        let node = other.upgrade().unwrap();
        let owner = identity.hash().clone();
        let current = node.node.get_pointer(&owner, &owner).unwrap().unwrap();
        let current = PointerUpdate::open(&current, &identity.public()).unwrap();
        let target = current.updated.clone().unwrap();
        let data = WriterData::decode(&node.node.get_block(&owner, &target, None).unwrap().unwrap(), &owner).unwrap();
        let boxing = BoxingKeyPair::generate().unwrap().public().clone();
        let block = Block::new(peergos_crypto::cid::Codec::DagCbor, boxing.to_cbor().encode());
        let data = WriterData { inbound: Some(boxing.hash()), ..data }.block();
        let next = PointerUpdate::next(Some(&current), Some(data.cid().clone())).sign(&identity);
        let blocks = vec![block.sign(&identity), data.sign(&identity)];
        let transaction = node.node.start_transaction(&owner).unwrap();
        let codec = peergos_crypto::cid::Codec::DagCbor;
        node.node.put_blocks(&owner, &owner, &transaction, codec, blocks).unwrap();
        node.node.set_pointer(&owner, &peergos_net::PointerWrite { writer: owner.clone(), signed: next }).unwrap();
        boxing.hash()
    };
    let inbound = Arc::new(parking_lot::Mutex::new(None));
    home.node.watch({
        let inbound = Arc::clone(&inbound);
        move |call, at| {
            if call == "set_login" && at == When::Before && first.fetch_add(1, Ordering::Relaxed) == 0 {
                *inbound.lock() = Some(change());
            }
            Ok(())
        }
    });
    home.change(&account).unwrap();
    home.node.watch(|_, _| Ok(()));
    let client = home.client();
    let data = place::writer_data(&client, &account.owner, &account.owner).unwrap().unwrap();
    assert_eq!(data.inbound, *inbound.lock());
    assert!(data.inbound.is_some() && home.opens("ada", NEW));
}

/// A node that hosts an account of the old kind, which the reference made.
fn legacy() -> (Home, String, String) {
    let vectors = &vectors("01-account.json")["legacy"];
    let (hosted, _) = recorded(vectors);
    let hosted = hosted.account.lock();
    let owner = hosted.owner.clone().unwrap();
    let root = PointerUpdate::open(&hosted.pointers[&owner], &owner.signing_key().unwrap()).unwrap().updated.unwrap();
    let mut car = Vec::new();
    let mut writer = CarWriter::new(&mut car, &root).unwrap();
    for (cid, block) in &hosted.blocks {
        writer.write(&Block::verified(cid, block.clone()).unwrap()).unwrap();
    }
    writer.finish().unwrap();
    let state = AccountState {
        username: hosted.username.clone(),
        identity: owner,
        chain: links_from_cbor(&Value::decode(&hosted.chain).unwrap()).unwrap(),
        pointers: hosted.pointers.clone().into_iter().collect(),
        logins: Vec::new(),
        factors: Vec::new(),
        bats: hosted.bats.clone(),
        follow_requests: Vec::new(),
        server_id: SERVER.parse().unwrap(),
    };
    let home = Home::empty();
    home.node.node.import(&car[..], state.to_json().as_bytes()).unwrap();
    (home, hosted.username.clone(), text(vectors, "password").to_owned())
}

#[test]
fn an_old_account_becomes_a_current_one() {
    let (home, username, password) = legacy();
    let old = home.open(&username, &password).unwrap();
    assert!(old.is_legacy);

    // wherever it breaks off, the old password holds, and the next attempt succeeds
    for (call, nth) in [("set_pointers", 0), ("set_login", 0), ("set_pointers", 1), ("update_chain", 0)] {
        let count = AtomicUsize::new(0);
        home.node.watch(move |made, at| {
            let broke = made == call && at == When::Before && count.fetch_add(1, Ordering::Relaxed) == nth;
            if broke { Err(broken()) } else { Ok(()) }
        });
        assert!(home.change(&old).is_err(), "{call}");
        home.node.watch(|_, _| Ok(()));
        assert!(home.opens(&username, &password), "{call}");
    }
    let changed = home.change(&old).unwrap();
    assert!(!home.opens(&username, &password));
    let opened = home.open(&username, NEW).unwrap();
    assert!(!opened.is_legacy && opened.owner != old.owner && opened.owner == changed.owner);
    assert_eq!(opened.home, Capability { owner: opened.owner.clone(), ..old.home.clone() });
    assert_eq!(opened.home, changed.home);
    assert_eq!(opened.home_signer.to_cbor(), old.home_signer.to_cbor());
    assert_eq!(opened.boxing.to_cbor(), old.boxing.to_cbor());
    assert_eq!(opened.claims.links().count(), 2);
    assert_eq!(opened.claims.home(), old.claims.home());
    // and is like any other from then on
    change_password(&home.client(), &opened, PASSWORD, SystemTime::now(), &mut |_: Step| {}).unwrap();
    assert!(home.opens(&username, PASSWORD) && !home.opens(&username, NEW));
}

#[test]
fn the_end_of_an_account() {
    let (home, account) = Home::with_ada();
    let end = |password: &str| delete(&home.client(), "ada", password, SystemTime::now(), &mut |_: Step| {});
    assert!(matches!(end("not hers"), Err(Error::Net(NetError::IncorrectLogin))));
    // it breaks off between the home and the identity, and is repeated
    let count = AtomicUsize::new(0);
    home.node.watch(move |call, at| match call {
        "set_pointers" if at == When::Before && count.fetch_add(1, Ordering::Relaxed) == 1 => Err(broken()),
        _ => Ok(()),
    });
    assert!(end(PASSWORD).is_err());
    end(PASSWORD).unwrap();
    assert!(matches!(home.open("ada", PASSWORD), Err(Error::AccountDeleted)));
    for writer in [account.identity.public(), account.home_signer.public()] {
        let pointer = home.node.get_pointer(&account.owner, &writer.hash()).unwrap().unwrap();
        assert_eq!(PointerUpdate::open(&pointer, &writer).unwrap().updated, None);
    }
    let again = sign_up(&*home.node, "ada", PASSWORD, "", SystemTime::now(), &mut |_: Step| {});
    assert!(matches!(again, Err(Error::UsernameTaken)));
}

#[test]
fn a_lost_answer_to_a_sign_up() {
    let home = Home::empty();
    let count = AtomicUsize::new(0);
    home.node.watch(move |call, at| match call {
        "sign_up" if at == When::After && count.fetch_add(1, Ordering::Relaxed) == 0 => Err(broken()),
        _ => Ok(()),
    });
    let account = sign_up(&*home.node, "ada", PASSWORD, "", SystemTime::now(), &mut |_: Step| {}).unwrap();
    assert_eq!(home.open("ada", PASSWORD).unwrap().owner, account.owner);
}

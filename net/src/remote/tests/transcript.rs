//! The recorded exchanges of the reference client: the same calls make the same requests.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use peergos_crypto::{
    bat::{Bat, BatWithId},
    cbor::Value,
    cid::{Cid, Codec},
    signing::{KeyHash, PublicSigningKey},
};
use peergos_testing::{Answer, Server, parse};

use super::client;
use crate::{Node, PointerWrite, RemoteNode, TransactionId, http::bodies, tests::recorded::exchanges};

/// A recorded request with its query decoded.
struct Recorded {
    path: String,
    query: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Recorded {
    fn field(&self, name: &str) -> &str {
        self.query.get(name).map(String::as_str).unwrap()
    }

    fn cid(&self, name: &str) -> Cid {
        self.field(name).parse().unwrap()
    }

    fn key(&self, name: &str) -> KeyHash {
        KeyHash::from_cid(self.cid(name)).unwrap()
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        hex::decode(self.field(name)).unwrap()
    }

    fn bat(&self) -> Option<BatWithId> {
        self.query.get("bat").map(|bat| BatWithId::from_text(bat).unwrap())
    }

    fn writer_key(&self) -> PublicSigningKey {
        PublicSigningKey::from_cbor(&Value::decode(&self.bytes("author")).unwrap()).unwrap()
    }

    /// Makes the call again; false for calls that a mount has no use for. What the recorded answer means is not of
    /// interest: many are cut.
    fn replay(&self, node: &RemoteNode) -> bool {
        match self.path.rsplit_once('/').unwrap().1 {
            "ids" => drop(node.ids()),
            "get" if self.path.contains("block") => {
                drop(node.get_block(&self.key("owner"), &self.cid("arg"), self.bat().as_ref()));
            }
            "get" => drop(node.get_link(&self.key("owner"), self.field("label").parse().unwrap())),
            "bulk" if self.path.contains("champ") => {
                let caps = bodies::read_champ_caps(self.field("caps")).unwrap();
                drop(node.champ_get(&self.key("owner"), &self.cid("arg"), &caps));
            }
            "bulk" => {
                let codec = if self.field("format") == "raw" { Codec::Raw } else { Codec::DagCbor };
                let blocks = bodies::read_block_group(codec, &self.body).unwrap();
                let transaction = TransactionId(self.field("transaction").to_owned());
                drop(node.put_blocks(&self.key("owner"), &self.key("writer"), &transaction, codec, blocks));
            }
            "close" => {
                let transaction = TransactionId(self.field("arg").to_owned());
                node.close_transaction(&self.key("owner"), &transaction).unwrap();
            }
            "start" => drop(node.start_transaction(&self.key("owner"))),
            "getPointer" => drop(node.get_pointer(&self.key("owner"), &self.key("writer"))),
            "setPointer" => {
                let write = PointerWrite { writer: self.key("writer"), signed: self.body.clone() };
                drop(node.set_pointer(&self.key("owner"), &write));
            }
            "setPointers" => {
                drop(node.set_pointers(&self.key("owner"), &bodies::read_pointers(&self.body).unwrap()));
            }
            "getChain" => drop(node.get_chain(&bodies::read_username(&self.body).unwrap())),
            "getPublicKey" => drop(node.get_public_key(&bodies::read_username(&self.body).unwrap())),
            "getUsername" => drop(node.get_username(&bodies::read_identity(&self.body).unwrap())),
            "signup" => drop(node.sign_up(&bodies::read_sign_up(&self.body).unwrap())),
            "updateChain" => {
                let update = bodies::ChainUpdate::from_bytes(&self.body).unwrap();
                let bodies::ChainUpdate { username, links, proof_of_work, token } = update;
                drop(node.update_chain(&username, &links, &proof_of_work, &token));
            }
            "getLogin" => {
                let mfa = self.query.get("mfa").map(|mfa| hex::decode(mfa).unwrap());
                let (reader, auth) = (self.writer_key(), self.bytes("auth"));
                drop(node.get_login(self.field("username"), &reader, &auth, mfa.as_deref()));
            }
            "setLogin" => {
                let auth = self.bytes("auth").try_into().unwrap();
                drop(node.set_login(self.field("username"), &self.body, &auth));
            }
            "getUserBats" => drop(node.get_user_bats(self.field("username"), &self.bytes("auth"))),
            "addBat" => {
                let bat = Bat::from_text(self.field("bat")).unwrap();
                let bat = BatWithId { bat, id: self.cid("batid") };
                drop(node.add_bat(self.field("username"), &bat, &self.bytes("auth")));
            }
            "usage" => drop(node.usage(&self.key("owner"), &self.bytes("auth"))),
            "quota" => drop(node.quota(&self.key("owner"), &self.bytes("auth"))),
            "listMfa" => drop(node.list_factors(self.field("username"), &self.bytes("auth"))),
            "addTotp" => drop(node.add_totp(self.field("username"), &self.bytes("auth"))),
            "enableTotp" => {
                let (id, code) = (self.bytes("credid"), self.field("code"));
                drop(node.enable_totp(self.field("username"), &id, code, &self.bytes("auth")));
            }
            "genBackupCodes" => drop(node.generate_backup_codes(self.field("username"), &self.bytes("auth"))),
            "deleteMfa" => {
                let (id, auth) = (self.bytes("credid"), self.bytes("auth"));
                drop(node.delete_factor(self.field("username"), &id, &auth));
            }
            _ => return false,
        }
        true
    }
}

#[test]
fn requests_are_those_of_the_reference_client() {
    let answer = Arc::new(Mutex::new(Vec::new()));
    let server = {
        let answer = Arc::clone(&answer);
        Server::new(move |_, _| Answer::Ok(answer.lock().clone()))
    };
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut others: BTreeMap<String, usize> = BTreeMap::new();
    for exchange in exchanges() {
        let (path, query) = parse(&exchange.target);
        let recorded = Recorded { path, query, body: exchange.request };
        *answer.lock() = exchange.reply;
        // each with a client of its own, so that none finds a transaction that was opened ahead
        let node = client(&server.url());
        if !recorded.replay(&node) {
            *others.entry(recorded.path).or_default() += 1;
            continue;
        }
        drop(node);
        let asked = server.asked();
        let made = asked.first().unwrap();
        assert_eq!(made.method, exchange.method);
        assert_eq!(made.path, recorded.path);
        assert_eq!(made.query, recorded.query, "{}", recorded.path);
        assert!(made.body == recorded.body, "{}", recorded.path);
        *seen.entry(recorded.path).or_default() += 1;
    }
    let count: usize = seen.values().sum();
    // all that a mount needs
    assert_eq!((seen.len(), count), (20, 200), "{seen:#?}, but {others:#?}");
}

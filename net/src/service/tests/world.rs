//! A served node with an account, and requests of its client.

use std::sync::Arc;

use peergos_crypto::{
    bat::Bat,
    cbor::Value,
    cid::{Cid, Codec},
    multibase,
    signing::{KeyHash, SecretSigningKey},
};

use super::{super::Service, Answer, post, serve};
use crate::{Block, EmbeddedNode, Node, PointerUpdate, embedded::tests::support::*, http::bodies};

pub struct World {
    pub client: Client,
    pub node: Arc<EmbeddedNode>,
    pub service: Service,
    /// An entry of the tree that a token is needed for, and its map key.
    pub entry: Block,
    pub key: [u8; 32],
    pub token: Bat,
    /// A fragment that a token is needed for.
    pub fragment: Block,
    _dir: tempfile::TempDir,
}

impl World {
    /// An account `alice` with an entry and a fragment.
    pub fn new() -> Self {
        Self::named("alice")
    }

    pub fn named(username: &str) -> Self {
        let (dir, node) = fresh();
        let client = Client::new(username);
        client.sign_up(&*node).unwrap();
        let token = Bat::from_bytes([5; 32]);
        let fragment = fragment(1, 10_000, &[token.inline_id(), client.bat.mirror_id()]);
        let bats: Vec<Value> = vec![token.inline_id().to_bytes().into()];
        let links: Vec<Value> = vec![fragment.cid().into()];
        let entry = cbor_block(&peergos_crypto::cbor_map! { "v" => 1i64, "bats" => bats, "f" => links });
        let key = map_key(1);
        client.commit(&node, &[(key, Some(entry.clone()))], std::slice::from_ref(&fragment)).unwrap();
        let service = serve(Arc::clone(&node) as Arc<dyn Node>);
        Self { client, node, service, entry, key, token, fragment, _dir: dir }
    }

    pub fn owner(&self) -> &KeyHash {
        self.client.owner()
    }

    pub fn writer(&self) -> &KeyHash {
        self.client.writer.hash()
    }

    pub fn post(&self, path: &str, body: &[u8]) -> Answer {
        post(&self.service, path, body)
    }

    /// A call of the storage API by the owner.
    pub fn storage(&self, call: &str, query: &str, body: &[u8]) -> Answer {
        self.post(&format!("/api/v0/{call}?{query}&owner={}", self.owner()), body)
    }

    pub fn get(&self, cid: &Cid, bat: Option<&Bat>) -> Answer {
        let bat = bat.map(|bat| format!("&bat={}", bat.with_chunk_id().to_text())).unwrap_or_default();
        self.storage("block/get", &format!("arg={cid}{bat}"), b"")
    }

    /// A put of one group by `writer`.
    pub fn put_as(&self, owner: &KeyHash, writer: &KeyHash, format: &str, body: &[u8]) -> Answer {
        let query = format!("format={format}&owner={owner}&transaction=t&writer={writer}");
        self.post(&format!("/api/v0/block/put/bulk?{query}"), body)
    }

    pub fn put(&self, format: &str, body: &[u8]) -> Answer {
        self.put_as(self.owner(), self.writer(), format, body)
    }

    /// The body of a put of one block signed by the home writer.
    pub fn group(&self, codec: Codec, data: &[u8]) -> Vec<u8> {
        group_by(&self.client.writer, codec, data)
    }

    pub fn pointer(&self) -> PointerUpdate {
        self.client.data(&self.node, &self.client.writer).1
    }

    pub fn root(&self) -> Cid {
        self.client.data(&self.node, &self.client.writer).2.tree.unwrap()
    }

    pub fn set_pointer(&self, writer: &KeyHash, signed: &[u8]) -> Answer {
        let query = format!("owner={}&writer={writer}", self.owner());
        self.post(&format!("/peergos/v0/mutable/setPointer?{query}"), signed)
    }

    pub fn set_pointers(&self, body: &[u8]) -> Answer {
        self.post(&format!("/peergos/v0/mutable/setPointers?owner={}", self.owner()), body)
    }

    /// A call that is authorised by a signature.
    pub fn signed(&self, family: &str, call: &str, query: &str, auth: &[u8]) -> Answer {
        self.post(&format!("/peergos/v0/{family}/{call}?{query}&auth={}", multibase::hex(auth)), b"")
    }

    /// A login call by the identity.
    pub fn login(&self, call: &str, query: &str) -> Answer {
        let auth = self.client.request_auth(&format!("peergos/v0/login/{call}"));
        self.signed("login", call, &format!("username=alice{query}"), &auth)
    }

    /// `getLogin` with another query.
    pub fn get_login(&self, query: &str) -> Answer {
        self.post(&format!("{}{query}", login_path(&self.client.login)), b"")
    }

    /// All that an attacker might change, to be compared before and after.
    pub fn state(&self) -> (String, Vec<String>) {
        let mut json = Vec::new();
        self.node.export("alice", std::io::sink(), &mut json).unwrap();
        (String::from_utf8(json).unwrap(), self.node.usernames())
    }
}

pub fn group_by(key: &SecretSigningKey, codec: Codec, data: &[u8]) -> Vec<u8> {
    bodies::block_group(&[Block::new(codec, data.to_vec()).sign(key)])
}

/// `getLogin` for `alice` by a key.
pub fn login_path(key: &SecretSigningKey) -> String {
    let author = multibase::hex(&key.public().to_cbor().encode());
    let auth = multibase::hex(&peergos_crypto::signed_time::sign(key, millis()));
    format!("/peergos/v0/login/getLogin?username=alice&author={author}&auth={auth}")
}

/// A key that nobody has heard of.
pub fn stranger() -> SecretSigningKey {
    SecretSigningKey::from_seed(&[42; 32])
}

/// Asserts that an account is as it was.
pub struct Unchanged<'a>(&'a World, (String, Vec<String>));

impl<'a> Unchanged<'a> {
    pub fn new(world: &'a World) -> Self {
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

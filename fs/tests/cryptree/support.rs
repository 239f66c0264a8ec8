//! Reading the vectors.

use bytes::Bytes;
use peergos_crypto::{
    bat::Bat,
    cbor::Value,
    symmetric::{CipherText, SymmetricKey},
};
use peergos_fs::{
    capability::MapKey,
    cryptree::{
        Bulk, FromBase, Node,
        bulk::{Payload, seal_with},
    },
};
use peergos_net::Block;
use serde_json::Value as Json;

pub const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors");

pub fn json(name: &str) -> Json {
    serde_json::from_slice(&std::fs::read(format!("{VECTORS}/{name}")).unwrap()).unwrap()
}

pub fn structures() -> Json {
    json("cryptree-structures.json")
}

pub fn case<'a>(cases: &'a Json, name: &str) -> &'a Json {
    cases.as_array().unwrap().iter().find(|case| case["case"] == name).unwrap()
}

pub fn hex(value: &Json) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

pub fn array<const N: usize>(value: &Json) -> [u8; N] {
    hex(value).try_into().unwrap()
}

pub fn cbor(value: &Json) -> Value {
    Value::decode_canonical(&hex(value)).unwrap()
}

pub fn key(value: &Json) -> SymmetricKey {
    SymmetricKey::from_bytes(array(value))
}

pub fn bat(value: &Json) -> Bat {
    Bat::from_bytes(array(value))
}

pub fn map_key(value: &Json) -> MapKey {
    MapKey(array(value))
}

/// The content of the vectors' files.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + (i >> 8)) as u8).collect()
}

pub fn nonce(node: &Node) -> [u8; 24] {
    let (Bulk::Inline { nonce, .. } | Bulk::Fragments { nonce, .. }) = &node.data;
    *nonce
}

/// The node decrypted, decoded, encoded and encrypted again with the nonces and tokens that it has.
pub fn resealed(node: &Node, read: &SymmetricKey, fragments: &[Bytes]) -> (Node, Vec<Block>) {
    let opened = node.open(read).unwrap();
    let from_base = FromBase::open(&node.from_base, read).unwrap();
    let from_parent = node.open_from_parent(&opened.parent_key).unwrap().to_cbor().unwrap();
    let payload = node.data.open_item(&opened.data_key, fragments).unwrap();
    let mut bats = node.data.fragments().iter().map(|(_, bat)| bat.as_ref().unwrap().bat.clone());
    let next_bat = || Ok(bats.next().unwrap());
    let payload = Payload::Item(&payload);
    let (data, blocks) = seal_with(&opened.data_key, nonce(node), payload, node.mirror(), next_bat).unwrap();
    let node = Node {
        bats: node.bats.clone(),
        from_base: CipherText::seal_with(read, node.from_base.nonce, &from_base.to_cbor(), 64),
        from_parent: CipherText::seal_with(&opened.parent_key, node.from_parent.nonce, &from_parent, 16),
        data,
    };
    (node, blocks)
}

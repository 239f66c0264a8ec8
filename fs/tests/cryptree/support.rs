//! Reading the vectors.

use std::ops::Range;

use bytes::Bytes;
use peergos_crypto::{
    Error,
    bat::Bat,
    cbor::Value,
    cid::Cid,
    symmetric::{CipherText, SymmetricKey},
};
use peergos_fs::{
    capability::{Capability, MapKey, StreamSecret},
    cryptree::{
        Bulk, FromBase, Node, Properties, Time,
        bulk::{Payload, Seekable, payload_of, seal_with},
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
    let (data, blocks) = seal_with(&opened.data_key, nonce(node), payload, mirror(node), next_bat).unwrap();
    let node = Node {
        bats: node.bats.clone(),
        from_base: CipherText::seal_with(read, node.from_base.nonce, &from_base.to_cbor(), 64),
        from_parent: CipherText::seal_with(&opened.parent_key, node.from_parent.nonce, &from_parent, 16),
        data,
    };
    (node, blocks)
}

/// The id of the owner's token, which the fragments of a node carry too.
pub fn mirror(node: &Node) -> Option<&Cid> {
    if node.bats.len() < 2 { None } else { node.bats.last() }
}

/// The chunk `steps` after that at `chunk`.
pub fn chunk_after(secret: &StreamSecret, chunk: &Capability, steps: usize) -> Capability {
    let step = |(map_key, bat): (MapKey, Option<Bat>), _| secret.next_chunk(map_key, bat.as_ref());
    let (map_key, bat) = (0..steps).fold((chunk.map_key, chunk.bat.clone()), step);
    chunk.at(map_key, bat)
}

/// The properties of a new file.
pub fn file_properties(name: &str, mime: &str, size: u64, time: Time, secret: StreamSecret) -> Properties {
    let (mime, stream_secret) = (mime.to_owned(), Some(secret));
    Properties { is_dir: false, mime, size, stream_secret, ..Properties::directory(name, time) }
}

/// A range of a chunk whose fragments are `blocks`, of which some may be missing.
pub fn read_range(
    bulk: &Bulk,
    seekable: &Seekable<'_>,
    blocks: &[Bytes],
    range: Range<usize>,
) -> peergos_crypto::Result<Vec<u8>> {
    let read = seekable.read(range, |(which, fragment), wanted, out| {
        assert_eq!(bulk.fragments()[which.index], *fragment);
        let payload = payload_of(&fragment.0, blocks.get(which.index).ok_or(Error::Structure("no such block"))?)?;
        out.extend_from_slice(&payload[wanted.start.min(payload.len())..wanted.end.min(payload.len())]);
        Ok(true)
    });
    Ok(read?.unwrap())
}

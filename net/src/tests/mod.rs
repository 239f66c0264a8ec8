//! Known answers for the structures of this crate, in both directions.

mod login;
mod ownership;
mod pointers;
pub mod recorded;
mod writer_data;

use std::{collections::HashMap, sync::Arc};

use peergos_crypto::{
    cbor::Value,
    cid::{Cid, Codec},
    signing::{KeyHash, PublicSigningKey, SecretSigningKey},
};
use serde_json::Value as Json;

use crate::{
    Block, Error, PointerUpdate, Result, WriterData,
    champ::{Node, NodeSource},
    owned::OwnershipSource,
};

/// A file of known answers.
pub fn vectors(file: &str) -> Json {
    let path = format!("{}/../tests/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A hexadecimal field.
pub fn bytes(hex: &Json) -> Vec<u8> {
    hex::decode(hex.as_str().unwrap()).unwrap()
}

fn cbor(hex: &Json) -> Value {
    Value::decode(&bytes(hex)).unwrap()
}

/// The item of `02-http-bodies.json` with this name.
fn body(name: &str) -> Json {
    let bodies = vectors("02-http-bodies.json");
    bodies.as_array().unwrap().iter().find(|case| case["name"] == name).unwrap().clone()
}

/// One of the keys of `02-keys-cids-cbor.json`: `owner`, `writer` or `login`.
fn key(name: &str) -> SecretSigningKey {
    let keys = vectors("02-keys-cids-cbor.json");
    let key = keys["keys"].as_array().unwrap().iter().find(|key| key["name"] == name).unwrap();
    let secret = SecretSigningKey::from_seed(bytes(&key["seed"])[..].try_into().unwrap());
    assert_eq!(hex::encode(secret.to_cbor().encode()), key["secretKeyCbor"]);
    assert_eq!(hex::encode(secret.public().to_cbor().encode()), key["publicKeyCbor"]);
    assert_eq!(secret.hash().to_string(), key["publicKeyHashString"].as_str().unwrap());
    assert_eq!(hex::encode(Value::from(secret.hash()).encode()), key["publicKeyHashCbor"]);
    secret
}

fn signer(hash: &KeyHash) -> PublicSigningKey {
    hash.signing_key().unwrap()
}

/// An account in memory.
#[derive(Default)]
struct Account {
    blocks: HashMap<Cid, Block>,
    pointers: HashMap<KeyHash, PointerUpdate>,
}

impl Account {
    fn put(&mut self, blocks: impl IntoIterator<Item = Block>) {
        self.blocks.extend(blocks.into_iter().map(|block| (block.cid().clone(), block)));
    }

    fn set(&mut self, data: &WriterData) {
        let next = PointerUpdate::next(self.pointers.get(&data.controller), Some(data.block().cid().clone()));
        self.put([data.block()]);
        self.pointers.insert(data.controller.clone(), next);
    }
}

impl NodeSource for Account {
    fn node(&self, cid: &Cid) -> Result<Arc<Node>> {
        Ok(Arc::new(Node::decode(self.block(cid)?.data())?))
    }
}

impl OwnershipSource for Account {
    fn block(&self, cid: &Cid) -> Result<Block> {
        self.blocks.get(cid).cloned().ok_or_else(|| Error::MissingBlock(cid.clone()))
    }

    fn writer_data(&self, writer: &KeyHash) -> Result<Option<WriterData>> {
        let target = self.pointers.get(writer).and_then(|pointer| pointer.updated.as_ref());
        target.map(|cid| WriterData::decode(self.block(cid)?.data(), writer)).transpose()
    }
}

#[test]
fn blocks() {
    let vectors = vectors("02-keys-cids-cbor.json");
    for (name, codec) in [("dagCborCid", Codec::DagCbor), ("rawCid", Codec::Raw)] {
        let vector = &vectors[name];
        let block = Block::new(codec, bytes(&vector["block"]));
        assert_eq!(block.cid().to_string(), vector["cidString"].as_str().unwrap());
        assert_eq!(block.cid().to_bytes(), bytes(&vector["cidBytes"]));
        assert_eq!(Block::verified(block.cid(), block.data().clone()).unwrap(), block);
        let wrong = Block::verified(block.cid(), b"ehellO".as_slice().into());
        assert!(matches!(wrong, Err(Error::WrongBlock(cid)) if cid == *block.cid()));
    }
    let big = vec![0; crate::MAX_BLOCK + 1];
    let cid = Cid::of_block(Codec::Raw, &big);
    assert!(matches!(Block::verified(&cid, big.into()), Err(Error::BlockTooBig)));
}

#[test]
fn block_signatures() {
    let vector = body("BlockWriteGroup");
    let writer = key("writer");
    for (data, signed) in vector["blocks"].as_array().unwrap().iter().zip(vector["signatures"].as_array().unwrap()) {
        let block = Block::new(Codec::DagCbor, bytes(data));
        let mine = block.clone().sign(&writer);
        assert_eq!(hex::encode(mine.attached()), *signed);
        let mut theirs = crate::SignedBlock::from_attached(block.clone(), &bytes(signed)).unwrap();
        theirs.verify(&writer.public()).unwrap();
        assert!(matches!(theirs.verify(&key("login").public()), Err(Error::BlockSignature)));
        theirs.signature[0] ^= 1;
        assert!(matches!(theirs.verify(&writer.public()), Err(Error::BlockSignature)));

        let mut digest = bytes(signed);
        *digest.last_mut().unwrap() ^= 1;
        for wrong in [&digest[..], &digest[..95], &[]] {
            assert!(crate::SignedBlock::from_attached(block.clone(), wrong).is_err());
        }
    }
}

//! The vectors of the protocol, made with the reference implementation, in both directions byte for byte.
#![cfg(test)]

mod accounts;
mod bats;
mod boxing;
mod cbor;
mod cid;
mod containers;
mod fingerprint;
mod hash_tree;
mod keys;
mod mfa;
mod password;
mod pow;

use peergos_crypto::cbor::Value;
use serde_json::Value as Json;

/// The vectors in `tests/vectors/NAME.json`.
fn vectors(name: &str) -> Json {
    let path = format!("{}/../tests/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Shorthands for what vectors hold.
trait Field {
    fn text(&self) -> &str;
    fn bytes(&self) -> Vec<u8>;
    fn number(&self) -> u64;
    fn items(&self) -> &[Json];

    fn array<const N: usize>(&self) -> [u8; N] {
        self.bytes().try_into().unwrap()
    }

    fn cbor(&self) -> Value {
        Value::decode_canonical(&self.bytes()).unwrap()
    }
}

impl Field for Json {
    fn text(&self) -> &str {
        self.as_str().unwrap()
    }

    fn bytes(&self) -> Vec<u8> {
        hex::decode(self.text()).unwrap()
    }

    fn number(&self) -> u64 {
        self.as_u64().unwrap()
    }

    fn items(&self) -> &[Json] {
        self.as_array().unwrap()
    }
}

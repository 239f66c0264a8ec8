//! The client against a small server that records what it is asked and answers as a test says.

mod exchange;
mod faults;
mod out_of_reach;
mod outcomes;
mod slow;
mod transcript;

use std::time::Duration;

use peergos_crypto::{
    cid::{Cid, Codec},
    signing::{KeyHash, SecretSigningKey},
};

use super::{RemoteNode, RemoteOptions};
use crate::http::bodies;

/// A client that does not wait long.
fn client(url: &str) -> RemoteNode {
    RemoteNode::new(&options(url)).unwrap()
}

fn options(url: &str) -> RemoteOptions {
    RemoteOptions { backoff: Duration::from_millis(2), timeout: Duration::from_secs(20), ..RemoteOptions::new(url) }
}

fn key(seed: u8) -> SecretSigningKey {
    SecretSigningKey::from_seed(&[seed; 32])
}

/// A server's id, as it tells it.
fn id() -> Vec<u8> {
    bodies::id(&Cid::of_block(Codec::Raw, b"a server")).into_bytes()
}

fn owner() -> KeyHash {
    key(1).hash().clone()
}

//! SHA-256 of several messages at a time: the hashes of a chunk and of its fragments (spec 01 §2.1).
//!
//! A processor's instructions for SHA-256 take several cycles each, and each waits for the one before. Those of a second
//! message fit between them, so that two are hashed in the time of one. Where there are no such instructions, or there is one
//! message only, this is the `sha2` crate.

#[cfg(target_arch = "x86_64")]
mod interleaved;

use sha2::{Digest, Sha256};

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// The hash of a message.
pub fn digest(message: &[u8]) -> Hash {
    Sha256::digest(message).into()
}

/// A message with its hash: there is no way to make one that does not fit.
#[derive(Debug, Clone)]
pub struct Hashed<T> {
    message: T,
    hash: Hash,
}

impl<T> Hashed<T> {
    /// The message and its hash.
    pub fn into_parts(self) -> (T, Hash) {
        (self.message, self.hash)
    }
}

/// Hashes messages, and beside them `first`, which is longer.
pub fn hash_beside<T: AsRef<[u8]>>(first: &[u8], messages: Vec<T>) -> (Hash, Vec<Hashed<T>>) {
    let all: Vec<&[u8]> = std::iter::once(first).chain(messages.iter().map(AsRef::as_ref)).collect();
    let mut hashes = digest_all(&all).into_iter();
    let first = hashes.next().expect("as many hashes as messages");
    (first, messages.into_iter().zip(hashes).map(|(message, hash)| Hashed { message, hash }).collect())
}

/// Hashes messages.
pub fn hash_all<T: AsRef<[u8]>>(messages: Vec<T>) -> Vec<Hashed<T>> {
    let hashes = digest_all(&messages.iter().map(AsRef::as_ref).collect::<Vec<_>>());
    messages.into_iter().zip(hashes).map(|(message, hash)| Hashed { message, hash }).collect()
}

/// The hashes of messages, in their order. The longest should come first: it is hashed beside the others.
pub fn digest_all(messages: &[&[u8]]) -> Vec<Hash> {
    digest_parts(&messages.iter().map(|message| [&[][..], *message]).collect::<Vec<_>>())
}

/// The hashes of messages that are each in two parts, the first of them short.
pub fn digest_parts(messages: &[[&[u8]; 2]]) -> Vec<Hash> {
    #[cfg(target_arch = "x86_64")]
    if messages.len() > 1
        && let Some(hashes) = interleaved::digest_parts(messages)
    {
        return hashes;
    }
    messages
        .iter()
        .map(|[front, rest]| Sha256::new().chain_update(front).chain_update(rest).finalize().into())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(messages: &[&[u8]]) {
        let expected: Vec<Hash> = messages.iter().map(|message| digest(message)).collect();
        assert_eq!(digest_all(messages), expected);
        for front in [1, 63, 64, 65, 130] {
            let parts: Vec<_> =
                messages.iter().map(|message| message.split_at(front.min(message.len())).into()).collect();
            assert_eq!(digest_parts(&parts), expected);
        }
    }

    #[test]
    fn every_length_around_the_borders_of_blocks() {
        let bytes: Vec<u8> = (0..400u32).map(|i| (i * 7) as u8).collect();
        for len in 0..200 {
            check(&[&bytes[..len], &bytes[1..=200 - len], &bytes[..len * 2]]);
        }
        check(&[]);
        check(&[b"abc"]);
    }

    #[test]
    fn a_chunk_and_its_fragments() {
        let chunk: Vec<u8> = (0..5 << 20).map(|i: u32| i.wrapping_mul(0x9e37_79b9).to_le_bytes()[2]).collect();
        let messages: Vec<&[u8]> = [&chunk[..]].into_iter().chain(chunk.chunks((1 << 20) - 100)).collect();
        check(&messages);
    }

    proptest! {
        #[test]
        fn messages_of_any_lengths(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..700), 0..9)) {
            check(&messages.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }
    }
}

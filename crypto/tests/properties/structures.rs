//! Every structure that is read from CBOR: encodings of real ones, then cut, changed and mixed at random.

use peergos_crypto::{
    Result,
    bat::{Bat, BatWithId, ids_from_cbor, ids_of_block, ids_to_cbor, raw_prefix},
    bat_auth::{BlockAuth, PackedTime},
    boxing::{BoxingKeyPair, CurveSecret, PublicBoxingKey},
    cbor::Value,
    cid::{Cid, Codec},
    container::{PasswordProtected, Sourced},
    fingerprint::Fingerprint,
    hash_tree::{HashBranch, HashTree},
    password::Algorithm,
    pow::ProofOfWork,
    signing::{KeyHash, PublicSigningKey, SecretSigningKey},
    symmetric::{CipherText, SymmetricKey},
    totp::Totp,
};
use proptest::prelude::*;

/// Reads a structure, and writes it again.
type Parser = fn(&Value) -> Result<Value>;

macro_rules! parsers {
    ($($structure:ident),*) => { [$((stringify!($structure), (|value| Ok($structure::from_cbor(value)?.to_cbor())) as Parser)),*] };
}

fn parsers() -> Vec<(&'static str, Parser)> {
    let mut parsers: Vec<(&str, Parser)> = parsers![
        Algorithm,
        Bat,
        BatWithId,
        BlockAuth,
        BoxingKeyPair,
        CipherText,
        Fingerprint,
        HashBranch,
        HashTree,
        PasswordProtected,
        ProofOfWork,
        PublicBoxingKey,
        PublicSigningKey,
        SecretSigningKey,
        Sourced,
        SymmetricKey
    ]
    .into();
    parsers.push(("KeyHash", |value| Ok(Value::from(&KeyHash::from_cbor(value, "key hash")?))));
    parsers.push(("BAT ids", |value| Ok(ids_to_cbor(&ids_from_cbor(value)?))));
    parsers.push(("signer", |value| Ok(SecretSigningKey::from_signer_cbor(value)?.to_signer_cbor())));
    parsers.push(("signing key pair", |value| Ok(SecretSigningKey::from_pair_cbor(value)?.to_pair_cbor())));
    parsers
}

/// One of each, as the parser of the same index writes it.
fn samples() -> Vec<Value> {
    let key = SecretSigningKey::from_seed(&[1; 32]);
    let symmetric = SymmetricKey::from_bytes([2; 32]);
    let bat = Bat::from_bytes([3; 32]);
    let pair = BoxingKeyPair::from_curve_secret(CurveSecret::from_bytes([4; 32]));
    let hashes = [[5; 32]; 1030];
    let tree = HashTree::from_chunk_hashes(&hashes).unwrap();
    let cid = Cid::of_block(Codec::Raw, b"block");
    let time = PackedTime::new(2033, 1, 2, 3, 4, 5).unwrap();
    vec![
        Algorithm::generate().unwrap().to_cbor(),
        bat.to_cbor(),
        bat.with_chunk_id().to_cbor(),
        BlockAuth::sign(&bat.with_chunk_id(), &cid, &cid, time).to_cbor(),
        pair.to_cbor(),
        CipherText::seal(&symmetric, &Value::Null, 16).unwrap().to_cbor(),
        Fingerprint { us: [6; 32], friend: [7; 32] }.to_cbor(),
        tree.branch(1024).to_cbor(),
        HashTree::from_chunk_hashes(&hashes[..3]).unwrap().to_cbor(),
        Value::Array(vec![Algorithm::Random.to_cbor(), [8; 32].into(), [9; 24].into(), [0; 20].into()]),
        ProofOfWork::find(b"data", 3).unwrap().to_cbor(),
        pair.public().to_cbor(),
        key.public().to_cbor(),
        key.to_cbor(),
        Sourced::seal(&pair, pair.public(), &Value::Null).unwrap().to_cbor(),
        symmetric.to_cbor(),
        key.hash().into(),
        ids_to_cbor(&[bat.inline_id(), bat.mirror_id()]),
        key.to_signer_cbor(),
        key.to_pair_cbor(),
    ]
}

#[test]
fn each_reads_its_own() {
    let (parsers, samples) = (parsers(), samples());
    assert_eq!(parsers.len(), samples.len());
    for ((name, parse), sample) in parsers.iter().zip(&samples) {
        assert_eq!(&parse(sample).unwrap_or_else(|error| panic!("{name}: {error}")), sample, "{name}");
    }
}

/// What a parser accepts, it writes so that it reads the same again.
fn check_stable(value: &Value) -> std::result::Result<(), TestCaseError> {
    for (name, parse) in parsers() {
        if let Ok(written) = parse(value) {
            prop_assert_eq!(&parse(&written).unwrap(), &written, "{}", name);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_item(value in crate::cbor::value()) {
        check_stable(&value)?;
    }

    #[test]
    fn changed_bytes(
        sample in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut encoded = sample.get(&samples()).encode();
        for (at, byte) in changes {
            let at = at.index(encoded.len());
            encoded[at] = byte;
        }
        if let Ok(value) = Value::decode(&encoded) {
            check_stable(&value)?;
        }
        let _ = ids_of_block(Codec::DagCbor, &encoded);
    }

    /// One element or entry is left out, or replaced by any item.
    #[test]
    fn changed_items(
        sample in any::<prop::sample::Index>(),
        path in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
        item in prop::option::of(crate::cbor::value()),
    ) {
        let mut value = sample.get(&samples()).clone();
        change(&mut value, &path, item);
        check_stable(&value)?;
    }

    #[test]
    fn raw_blocks(
        ids in prop::collection::vec(any::<[u8; 32]>(), 0..3),
        content in prop::collection::vec(any::<u8>(), 0..50),
        change in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let ids: Vec<Cid> = ids.into_iter().map(|id| Bat::from_bytes(id).inline_id()).collect();
        let mut block = [raw_prefix(&ids), content].concat();
        match change {
            None => prop_assert_eq!(ids_of_block(Codec::Raw, &block).unwrap(), ids),
            Some((at, byte)) => {
                let at = at.index(block.len());
                block[at] = byte;
                if let Ok(ids) = ids_of_block(Codec::Raw, &block) {
                    prop_assert!(ids.len() <= block.len());
                }
            }
        }
    }

    #[test]
    fn texts(text in "\\PC{0,40}", bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let encoded = peergos_crypto::multibase::encode(&bytes);
        for text in [&text, &encoded] {
            prop_assert!(BatWithId::from_text(text).is_err());
            prop_assert!(Fingerprint::from_text(text).is_err());
            prop_assert!(Totp::from_text(text).is_err());
        }
        match Bat::from_text(&encoded) {
            Ok(bat) => prop_assert_eq!(bat.to_text(), encoded),
            Err(_) => prop_assert_ne!(bytes.len(), 32),
        }
    }
}

fn change(value: &mut Value, path: &[prop::sample::Index], item: Option<Value>) {
    let Some((step, rest)) = path.split_first() else { return };
    match value {
        Value::Array(items) if !items.is_empty() => {
            let at = step.index(items.len());
            match (rest.is_empty(), item) {
                (true, Some(item)) => items[at] = item,
                (true, None) => drop(items.remove(at)),
                (false, item) => change(&mut items[at], rest, item),
            }
        }
        Value::Map(map) if !map.is_empty() => {
            let key = map.iter().nth(step.index(map.len())).unwrap().0.to_owned();
            let mut inner = map.remove(&key).unwrap();
            match (rest.is_empty(), item) {
                (true, Some(item)) => drop(map.insert(key, item)),
                (true, None) => {}
                (false, item) => {
                    change(&mut inner, rest, item);
                    map.insert(key, inner);
                }
            }
        }
        other => {
            if let Some(item) = item {
                *other = item;
            }
        }
    }
}

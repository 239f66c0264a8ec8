use peergos_crypto::{
    Error,
    boxing::{BoxingKeyPair, CurveSecret, PublicBoxingKey},
    cbor::Value,
};
use serde_json::Value as Json;

use crate::{Field, vectors};

/// A pair from its halves, with the encodings checked.
fn pair(public: &Json, secret: &Json) -> BoxingKeyPair {
    let cbor = Value::Array(vec![public.cbor(), secret.cbor()]);
    let pair = BoxingKeyPair::from_cbor(&cbor).unwrap();
    assert_eq!(pair.to_cbor(), cbor);
    assert_eq!(&PublicBoxingKey::from_cbor(&public.cbor()).unwrap(), pair.public());
    pair
}

#[test]
fn curve25519() {
    let case = &vectors("01-crypto")["curve25519"];
    let (a, b) = (CurveSecret::from_bytes(case["a_secret"].array()), CurveSecret::from_bytes(case["b_secret"].array()));
    assert_eq!(a.public().as_bytes()[..], case["a_public"].bytes());
    let (a, b) = (BoxingKeyPair::from_curve_secret(a), BoxingKeyPair::from_curve_secret(b));
    assert_eq!(b.to_cbor(), case["b_pair_cbor"].cbor());
    assert_eq!(pair(&case["b_public_cbor"], &case["b_secret_cbor"]).public(), b.public());
    assert_eq!(b.public().hash().to_string(), case["b_public_hash_identity"].text());
    let sealed = case["wire_ciphertext_then_nonce"].bytes();
    assert_eq!(*b.open(&sealed, a.public()).unwrap(), case["message"].bytes());
    assert_eq!(*a.open(&sealed, b.public()).unwrap(), case["message"].bytes());
}

#[test]
fn hybrid() {
    let case = &vectors("01-crypto")["hybrid"];
    let sender = pair(&case["sender_public_cbor"], &case["sender_secret_cbor"]);
    let recipient = pair(&case["recipient_public_cbor"], &case["recipient_secret_cbor"]);
    assert_eq!(recipient.public().hash().to_string(), case["recipient_public_block_cid"].text());
    assert_eq!(recipient.to_cbor().encode().len() as u64, case["recipient_pair_cbor_len"].number());
    let opened = recipient.open(&case["ciphertext_cbor"].bytes(), sender.public()).unwrap();
    assert_eq!(*opened, case["plaintext"].bytes());
}

#[test]
fn social() {
    let file = vectors("social-crypto");
    for (keys, message) in [("curve25519", "curve25519_box_alice_to_bob"), ("hybrid", "hybrid_box_alice_to_bob")] {
        let [alice, bob] = ["alice_pair", "bob_pair"].map(|name| {
            let pair = BoxingKeyPair::from_cbor(&file[keys][name].cbor()).unwrap();
            assert_eq!(pair.to_cbor(), file[keys][name].cbor());
            pair
        });
        let opened = bob.open(
            &file[message]
                .get("ciphertext_with_trailing_nonce")
                .map_or_else(|| file[message]["ciphertext"].bytes(), Field::bytes),
            alice.public(),
        );
        assert_eq!(*opened.unwrap(), file[message]["plaintext"].bytes());
    }
}

#[test]
fn there_and_back() {
    for (from, to) in [(BoxingKeyPair::generate().unwrap(), BoxingKeyPair::generate().unwrap()), (legacy(1), legacy(2))]
    {
        let from = BoxingKeyPair::from_cbor(&from.to_cbor()).unwrap();
        let sealed = from.seal(b"letter", to.public()).unwrap();
        assert_eq!(&**to.open(&sealed, from.public()).unwrap(), b"letter");
        assert_ne!(sealed, from.seal(b"letter", to.public()).unwrap(), "drawn at random");
        let ephemeral = BoxingKeyPair::generate_like(to.public()).unwrap();
        assert!(to.open(&sealed, ephemeral.public()).is_err());
        for i in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[i] ^= 0x10;
            assert!(to.open(&changed, from.public()).is_err(), "byte {i}");
            assert!(to.open(&sealed[..i], from.public()).is_err(), "first {i} bytes");
        }
    }
}

fn legacy(byte: u8) -> BoxingKeyPair {
    BoxingKeyPair::from_curve_secret(CurveSecret::from_bytes([byte; 32]))
}

#[test]
fn kinds_do_not_mix() {
    let (old, new) = (legacy(1), BoxingKeyPair::generate().unwrap());
    for (from, to) in [(&old, &new), (&new, &old)] {
        assert!(matches!(from.seal(b"", to.public()), Err(Error::Key(_))));
        assert!(matches!(from.open(&[0; 40], to.public()), Err(Error::Key(_))));
    }
}

#[test]
fn halves_that_do_not_belong_together() {
    let other = BoxingKeyPair::generate().unwrap();
    for pair in [legacy(1), BoxingKeyPair::generate().unwrap()] {
        let cbor = pair.to_cbor();
        let [_, secret] = cbor.as_array("pair").unwrap() else { panic!("two halves") };
        let mixed = Value::Array(vec![other.public().to_cbor(), secret.clone()]);
        assert!(matches!(BoxingKeyPair::from_cbor(&mixed), Err(Error::Key(_))));
    }
}

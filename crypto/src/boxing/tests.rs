//! Boxes made from given randomness; the vectors that only need opening are in `tests/known_answers`.

use serde_json::Value as Json;

use super::{curve25519::CurveSecret, hybrid::Randomness, *};
use crate::multibase::hex_decode;

fn vector(section: &str) -> Json {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/01-crypto.json");
    serde_json::from_str::<Json>(&std::fs::read_to_string(path).unwrap()).unwrap()[section].clone()
}

fn bytes(json: &Json) -> Vec<u8> {
    hex_decode(json.as_str().unwrap()).unwrap()
}

fn array<const N: usize>(json: &Json) -> [u8; N] {
    bytes(json).try_into().unwrap()
}

#[test]
fn curve_box() {
    let case = vector("curve25519");
    let (a, b) = (CurveSecret::from_bytes(array(&case["a_secret"])), CurveSecret::from_bytes(array(&case["b_secret"])));
    let sealed = a.seal_with(array(&case["nonce"]), &bytes(&case["message"]), &b.public());
    assert_eq!(sealed, bytes(&case["wire_ciphertext_then_nonce"]));
}

/// The randomness of ML-KEM in the vector is unknown, but all that depends on the rest comes out the same.
#[test]
fn hybrid_box() {
    let case = vector("hybrid");
    let key = |name: &str| Value::decode(&bytes(&case[name])).unwrap();
    let part = |value: &Value| value.as_array("key").unwrap()[1].clone();
    let sender = HybridSecret::from_cbor(&part(&key("sender_secret_cbor"))).unwrap();
    let recipient = HybridSecret::from_cbor(&part(&key("recipient_secret_cbor"))).unwrap();
    let expected = key("ciphertext_cbor");
    let field = |box_: &Value, name: &str| box_.as_map("box").unwrap().get(name).unwrap().clone();

    let share = field(&expected, "c");
    let (_, share_nonce) = share.as_bytes("share").unwrap().split_last_chunk().unwrap();
    let randomness = Randomness {
        share: array(&case["x25519_part_secret"]),
        encapsulation: [7; 32],
        share_nonce: *share_nonce,
        nonce: field(&expected, "n").as_array_of("nonce").unwrap(),
    };
    let text = bytes(&case["plaintext"]);
    let sealed = sender.seal_with(&randomness, &text, &recipient.public());
    assert_eq!(*recipient.open(&sealed, &sender.public()).unwrap(), text);
    let sealed = Value::decode_canonical(&sealed).unwrap();
    assert_eq!(field(&sealed, "c"), share);
    for (name, len) in [("c", "len_c"), ("i", "len_i"), ("m", "len_m"), ("n", "len_n")] {
        let (ours, theirs) = (field(&sealed, name), field(&expected, name));
        assert_eq!(ours.as_bytes(len).unwrap().len(), theirs.as_bytes(len).unwrap().len());
        assert_eq!(ours.as_bytes(len).unwrap().len() as u64, case[len].as_u64().unwrap());
    }

    let key = hybrid::combine(&randomness.share, array(&case["mlkem_shared_secret"]).into());
    assert_eq!(key[..], array::<32>(&case["combined_key"]));
    let sealed = crate::symmetric::SymmetricKey::from_bytes(*key).seal(&randomness.nonce, &text);
    assert_eq!(Value::Bytes(sealed), field(&expected, "i"));
}

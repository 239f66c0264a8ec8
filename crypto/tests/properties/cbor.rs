use std::cmp::Ordering;

use peergos_crypto::{
    cbor::{Map, Value},
    cid::{Cid, Codec},
};
use proptest::prelude::*;

/// Any item, of bounded size.
pub fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Value::Int),
        (-300..70_000i64).prop_map(Value::Int),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Value::Bytes),
        "\\PC{0,30}".prop_map(Value::Text),
        any::<bool>().prop_map(Value::Bool),
        any::<[u8; 32]>().prop_map(|digest| Value::Link(Cid::sha256(Codec::DagCbor, digest))),
        prop::collection::vec(any::<u8>(), 0..=36)
            .prop_map(|content| Value::Link(Cid::identity(Codec::Raw, &content).unwrap())),
        Just(Value::Null),
    ];
    leaf.prop_recursive(6, 100, 10, |item| {
        prop_oneof![
            prop::collection::vec(item.clone(), 0..10).prop_map(Value::Array),
            prop::collection::vec(("\\PC{0,4}", item), 0..10).prop_map(|entries| Value::Map(Map::from_iter(entries))),
        ]
    })
}

proptest! {
    #[test]
    fn round_trip(value in value(), padding in 0..100usize) {
        let mut encoded = value.encode();
        prop_assert_eq!(&Value::decode_canonical(&encoded).unwrap(), &value);
        let len = encoded.len();
        encoded.resize(len + padding, 0);
        prop_assert_eq!(Value::decode_prefix(&encoded).unwrap(), (value, len));
    }

    #[test]
    fn one_entry_of_a_map(value in value(), key in "\\PC{0,4}", input in prop::collection::vec(any::<u8>(), 0..200)) {
        let keys: Vec<&str> = value.as_map("map").iter().flat_map(|map| map.iter()).map(|(key, _)| key).collect();
        for key in keys.into_iter().chain([&*key]) {
            let expected = value.as_map("map").ok().and_then(|map| map.get(key)).cloned();
            prop_assert_eq!(Value::decode_entry(&value.encode(), key).unwrap(), expected);
        }
        if let Ok(value) = Value::decode(&input) {
            let expected = value.as_map("map").ok().and_then(|map| map.get(&key)).cloned();
            prop_assert_eq!(Value::decode_entry(&input, &key).unwrap(), expected);
        }
    }

    #[test]
    fn every_truncation_is_refused(value in value(), cut in any::<prop::sample::Index>()) {
        let encoded = value.encode();
        prop_assert!(Value::decode(&encoded[..cut.index(encoded.len())]).is_err());
    }

    /// A changed byte is refused, or read as something else, but never as the same: there is one encoding.
    #[test]
    fn changed_byte(value in value(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut encoded = value.encode();
        let at = at.index(encoded.len());
        prop_assume!(encoded[at] != byte);
        encoded[at] = byte;
        if let Ok(other) = Value::decode_canonical(&encoded) {
            prop_assert_ne!(other, value);
        }
    }

    #[test]
    fn any_bytes(input in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok((value, len)) = Value::decode_prefix(&input) {
            prop_assert!(len <= input.len());
            prop_assert_eq!(&Value::decode_canonical(&value.encode()).unwrap(), &value);
        }
    }

    /// Keys sort by UTF-16 length and then UTF-16 units, whatever order they came in.
    #[test]
    fn order_of_keys(keys in prop::collection::vec("[a-cé€😀～]{0,3}", 0..20)) {
        let map: Map = keys.iter().map(|key| (key.as_str(), 0i64)).collect();
        let units: Vec<Vec<u16>> = map.iter().map(|(key, _)| key.encode_utf16().collect()).collect();
        for pair in units.windows(2) {
            let order = pair[0].len().cmp(&pair[1].len()).then_with(|| pair[0].cmp(&pair[1]));
            prop_assert_eq!(order, Ordering::Less);
        }
        let reversed: Map = keys.iter().rev().map(|key| (key.as_str(), 0i64)).collect();
        prop_assert_eq!(&map, &reversed);
        prop_assert!(keys.iter().all(|key| map.get(key) == Some(&Value::Int(0))));
    }
}

/// A block's worth of keys in the worst order takes no longer than in the best.
#[test]
fn descending_keys() {
    let keys: Vec<String> = (0..100_000).map(|i| format!("{i:06}")).collect();
    let mut encoded = hex::decode("ba000186a0").unwrap();
    for key in keys.iter().rev() {
        Value::from(key.as_str()).encode_to(&mut encoded);
        encoded.push(0);
    }
    let value = Value::decode(&encoded).unwrap();
    assert!(value.as_map("map").unwrap().iter().map(|(key, _)| key).eq(keys.iter()));

    let duplicate = [&encoded[..1], &100_001u32.to_be_bytes(), &encoded[5..], b"\x66000007\x00"].concat();
    assert!(Value::decode(&duplicate).is_err());
}

/// Lengths that a few bytes claim cost no memory, and nesting no stack.
#[test]
fn claims_beyond_the_input() {
    for major in 2..6u8 {
        for length in ["1affffffff", "1b7fffffffffffffff", "1bffffffffffffffff"] {
            let mut input = hex::decode(length).unwrap();
            input[0] |= major << 5;
            input.extend_from_slice(&[0; 64]);
            assert!(Value::decode(&input).is_err(), "{major} {length}");
        }
    }
    for opener in [0x81, 0xa1] {
        assert!(Value::decode(&vec![opener; 1 << 20]).is_err());
    }
    let deep: Vec<u8> = [vec![0x81; 60], vec![0xf6]].concat();
    assert!(Value::decode(&deep).is_ok());
}

use peergos_crypto::{
    cbor::{Map, Value},
    cid::Cid,
};

use crate::{Field, vectors};

fn both_ways(value: &Value, encoded: &[u8]) {
    assert_eq!(value.encode(), encoded);
    assert_eq!(&Value::decode_canonical(encoded).unwrap(), value);
}

#[test]
fn integers() {
    for (file, number) in [("01-cbor", "int"), ("02-keys-cids-cbor", "v")] {
        let ints = vectors(file)["ints"].clone();
        assert!(ints.items().len() > 10);
        for case in ints.items() {
            both_ways(&Value::Int(case[number].text().parse().unwrap()), &case["cbor"].bytes());
        }
    }
}

#[test]
fn items() {
    let cases = vectors("01-cbor")["encode"].clone();
    let mut seen = 0;
    for case in cases.items() {
        let value = match case["name"].text() {
            "empty string" => Value::from(""),
            "string 'aé€😀'" => Value::from("aé€😀"),
            "empty bytes" => Value::Bytes(vec![]),
            "24 bytes" => Value::Bytes((0..24).collect()),
            "256 bytes" => Value::Bytes((0..=255).collect()),
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "null" => Value::Null,
            "empty list" => Value::Array(vec![]),
            "empty map" => Value::Map(Map::new()),
            "map key order" => {
                let keys = case["insertion_keys_value_is_index"].items();
                Value::Map(keys.iter().enumerate().map(|(i, key)| (key.text(), i as i64)).collect())
            }
            "merkle link" | "merkle link identity key" => Value::Link(case["cid"].text().parse::<Cid>().unwrap()),
            other => panic!("unknown case {other}"),
        };
        both_ways(&value, &case["cbor"].bytes());
        seen += 1;
    }
    assert_eq!(seen, 13);
}

#[test]
fn key_order() {
    let cases = vectors("01-cbor")["encode"].clone();
    let case = cases.items().iter().find(|case| case["name"] == "map key order").unwrap();
    let value = case["cbor"].cbor();
    let keys: Vec<&str> = value.as_map("map").unwrap().iter().map(|(key, _)| key).collect();
    let expected: Vec<&str> = case["encoded_order"].items().iter().map(Field::text).collect();
    assert_eq!(keys, expected);

    let case = &vectors("02-keys-cids-cbor")["mapOrdering"];
    let entries = case["keysUnordered"].items().iter().map(Field::text);
    let expected = case["cbor"].cbor();
    let values = expected.as_map("map").unwrap();
    let map: Map = entries.map(|key| (key, values.get(key).unwrap().as_int("index").unwrap())).collect();
    both_ways(&Value::Map(map), &case["cbor"].bytes());
}

/// What the reference accepts and rejects, but for two liberties of its decoder that nobody ever wrote.
#[test]
fn decoding() {
    const WE_REJECT: [&str; 2] = ["indefinite map", "tag 42 with string"];
    let cases = vectors("01-cbor")["decode"].clone();
    assert_eq!(cases.items().len(), 28);
    for case in cases.items() {
        let name = case["name"].text();
        let decoded = Value::decode(&case["in"].bytes());
        if case["ok"] == true && !WE_REJECT.contains(&name) {
            assert_eq!(decoded.unwrap().encode(), case["reencoded"].bytes(), "{name}");
        } else {
            assert!(decoded.is_err(), "{name}");
        }
    }
}

#[test]
fn bounded() {
    // [1, {"a": [h'', "b"]}, null]
    let input = hex::decode("8301a16161824061 62f6".replace(' ', "")).unwrap();
    let value = Value::decode(&input).unwrap();
    assert_eq!(Value::decode_within(&input, 7).unwrap(), value);
    for items in 0..7 {
        assert_eq!(Value::decode_within(&input, items).unwrap_err().to_string(), "malformed CBOR: too many items");
    }
}

#[test]
fn canonical_only() {
    for (encoded, canonical) in
        [("a2616101616202", true), ("a2616202616101", false), ("1800", false), ("0000", false), ("780161", false)]
    {
        let input = hex::decode(encoded).unwrap();
        assert!(Value::decode(&input).is_ok());
        assert_eq!(Value::decode_canonical(&input).is_ok(), canonical, "{encoded}");
    }
}

#[test]
fn links_in_order() {
    let cid = |n: u8| Cid::sha256(peergos_crypto::cid::Codec::Raw, [n; 32]);
    let inner = Value::Array(vec![cid(1).into(), Value::Null, cid(2).into()]);
    let map: Map = [("a", inner), ("bb", Value::Link(cid(3))), ("c", Value::Link(cid(4)))].into_iter().collect();
    let value = Value::Array(vec![Value::Link(cid(0)), Value::Map(map)]);
    assert_eq!(value.links(), [&cid(0), &cid(1), &cid(2), &cid(4), &cid(3)]);
}

use peergos_crypto::{
    Error,
    cbor::Value,
    cbor_map,
    password::{self, Algorithm, Scrypt},
    symmetric::{CipherText, SymmetricKey},
};

use crate::{Field, vectors};

#[test]
fn derivations() {
    let cases = vectors("01-crypto")["scrypt"].clone();
    assert_eq!(cases.items().len(), 5);
    for case in cases.items() {
        let (username, secret) = (case["username_or_salt"].text(), case["password"].text());
        let algorithm = Algorithm::from_cbor(&case["algorithm_cbor"].cbor()).unwrap();
        assert_eq!(algorithm.to_cbor(), case["algorithm_cbor"].cbor());
        let out = case["out"].bytes();
        if out.len() == 32 {
            assert_eq!(Algorithm::Scrypt(Scrypt::secret_link()), algorithm);
            let key = Scrypt::secret_link().derive_key(username, secret).unwrap();
            assert_eq!(key.as_bytes()[..], out);
            assert!(matches!(password::derive(username, secret, &algorithm), Err(Error::Derivation(_))));
            continue;
        }
        let keys = password::derive(username, secret, &algorithm).unwrap();
        assert_eq!(keys.root.as_bytes()[..], out[out.len() - 32..]);
        assert_eq!(keys.legacy_boxing.is_some(), out.len() == 96);
        if let Some(public) = case.get("login_public_cbor") {
            assert_eq!(keys.signing.public().to_cbor(), public.cbor());
        }
        if let Some(pair) = keys.legacy_boxing {
            let key = |name: &str| Value::Array(vec![Value::Int(1), case[name].bytes().into()]);
            assert_eq!(pair.to_cbor(), Value::Array(vec![key("boxing_public"), key("boxing_secret")]));
        }
    }
}

#[test]
fn secret_link() {
    let case = &vectors("cryptree-structures")["secretLink"];
    let secret = [case["linkPassword"].text(), case["userPassword"].text()].concat();
    let key = Scrypt::secret_link().derive_key(&case["label"].number().to_string(), &secret).unwrap();
    assert_eq!(key, SymmetricKey::from_bytes(case["key"].array()));
    let encrypted = case["encryptedCapabilityCbor"].cbor();
    let text = CipherText::from_cbor(encrypted.as_map("link").unwrap().get("c").unwrap()).unwrap();
    assert_eq!(text.open(&key).unwrap(), case["plainCapCbor"].cbor());
}

fn algorithm(m: i64, c: i64, p: i64, o: i64) -> Value {
    cbor_map! { "type" => 1i64, "m" => m, "c" => c, "p" => p, "o" => o, "s" => "" }
}

/// A server that names weak costs could guess the password, and one that names high ones exhaust the memory.
#[test]
fn refused_costs() {
    for (m, c, p, o) in [
        (16, 8, 1, 64),
        (15, 8, 1, 64),
        (0, 8, 1, 64),
        (23, 8, 1, 64),
        (63, 8, 1, 64),
        (17, 1, 1, 64),
        (17, 1 << 31, 1, 64),
        (17, 8, 2, 64),
        (17, 8, 0, 64),
        (17, 8, 1, 32),
        (17, 8, 1, 63),
        (17, 8, 1, 65),
        (17, 8, 1, i64::MAX),
    ] {
        let algorithm = Algorithm::from_cbor(&algorithm(m, c, p, o)).unwrap();
        assert!(matches!(password::derive("u", "p", &algorithm), Err(Error::Derivation(_))), "{m} {c} {p} {o}");
    }
    for (m, c, p, o) in [(-1, 8, 1, 64), (256, 8, 1, 64), (17, -8, 1, 64), (17, 8, 1 << 32, 64), (17, 8, 1, -1)] {
        assert!(Algorithm::from_cbor(&algorithm(m, c, p, o)).is_err());
    }
    let random = Algorithm::from_cbor(&cbor_map! { "type" => 0i64 }).unwrap();
    assert_eq!(random, Algorithm::Random);
    assert!(matches!(password::derive("u", "p", &random), Err(Error::Derivation(_))));
}

#[test]
fn old_data_without_salt() {
    let mut old = algorithm(17, 8, 1, 64);
    let with_salt = Algorithm::from_cbor(&old).unwrap();
    let Value::Map(map) = &mut old else { panic!("a map") };
    map.remove("s");
    assert_eq!(Algorithm::from_cbor(&old).unwrap(), with_salt);
}

#[test]
fn new_accounts() {
    let (one, other) = (Algorithm::generate().unwrap(), Algorithm::generate().unwrap());
    assert_ne!(one, other);
    let cbor = one.to_cbor();
    let salt = cbor.as_map("algorithm").unwrap().get("s").unwrap().as_text("salt").unwrap();
    assert_eq!(hex::decode(salt).unwrap().len(), 32);
    let mut expected = algorithm(17, 8, 1, 64);
    let Value::Map(map) = &mut expected else { panic!("a map") };
    map.insert("s", salt);
    assert_eq!(cbor, expected);
    assert!(password::derive("u", "p", &one).is_ok());
    assert!(password::check_new("same", "same").is_err());
    assert!(password::check_new("same", "different").is_ok());
}

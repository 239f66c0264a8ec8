use std::array::from_fn;

use peergos_crypto::{
    fingerprint::{Fingerprint, half},
    signing::SecretSigningKey,
};

use crate::{Field, vectors};

#[test]
fn friends() {
    let case = &vectors("01-mfa-pki")["fingerprint"];
    let expected = Fingerprint::from_cbor(&case["cbor"].cbor()).unwrap();
    assert_eq!(expected.to_cbor(), case["cbor"].cbor());
    assert_eq!(expected.to_text(), case["cbor"].text());
    assert_eq!(Fingerprint::from_text(case["cbor"].text()).unwrap(), expected);
    assert_eq!(expected.digits(), case["alice_keys_then_bob"].text());
    // the vector takes signing keys for both
    let key = |start: u8| SecretSigningKey::from_seed(&from_fn(|i| start + i as u8)).hash().clone();
    for [mine, theirs] in [[[0, 64], [100, 150]], [[64, 0], [150, 100]]] {
        let ours = Fingerprint { us: half("alice", &mine.map(key)), friend: half("bob", &theirs.map(key)) };
        assert_eq!(ours, expected);
    }
}

use peergos_crypto::{
    Error,
    pow::{MAX_DIFFICULTY, ProofOfWork},
};
use sha2::{Digest, Sha256};

use crate::{Field, vectors};

#[test]
fn proofs() {
    let cases = vectors("01-crypto")["proof_of_work"].clone();
    let (proofs, empty): (Vec<_>, Vec<_>) = cases.items().iter().partition(|case| case.get("data").is_some());
    assert_eq!((proofs.len(), empty.len()), (5, 1));
    for case in proofs {
        let (data, difficulty) = (case["data"].bytes(), case["difficulty"].number() as u32);
        let proof = ProofOfWork::find(&data, difficulty).unwrap();
        assert_eq!(proof.to_cbor(), case["cbor"].cbor());
        assert_eq!(ProofOfWork::from_cbor(&case["cbor"].cbor()).unwrap(), proof);
        assert!(proof.satisfies(&data, difficulty));
        assert_eq!(Sha256::digest([case["prefix"].bytes(), data].concat())[..], case["hash"].bytes());
    }
    assert_eq!(ProofOfWork::none().to_cbor(), empty[0]["empty_cbor"].cbor());
    assert_eq!(ProofOfWork::from_cbor(&empty[0]["empty_cbor"].cbor()).unwrap(), ProofOfWork::none());
}

/// Of a partial byte the low-order bits count: 0x70 is three zero bits from the front, but four from the back.
#[test]
fn low_order_bits() {
    let case = &vectors("01-crypto")["proof_of_work"][3];
    let proof = ProofOfWork::from_cbor(&case["cbor"].cbor()).unwrap();
    let data = case["data"].bytes();
    assert!(case["hash"].text().starts_with("0070"));
    let satisfied: Vec<u32> = (0..=256).filter(|difficulty| proof.satisfies(&data, *difficulty)).collect();
    assert_eq!(satisfied, (0..=12).collect::<Vec<_>>());
}

#[test]
fn too_much_work() {
    assert_eq!(ProofOfWork::find(b"", MAX_DIFFICULTY + 1), Err(Error::Work(MAX_DIFFICULTY + 1)));
    assert!(!ProofOfWork::none().satisfies(b"", 257));
}

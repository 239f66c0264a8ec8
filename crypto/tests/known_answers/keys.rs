use peergos_crypto::{
    cbor::Value,
    hkdf::hkdf,
    multibase,
    secretbox::{open_in_place, seal_in_place},
    signed_request, signed_time,
    signing::{KeyHash, PublicSigningKey, SecretSigningKey},
    symmetric::{CipherText, SymmetricKey},
};

use crate::{Field, vectors};

#[test]
fn ed25519() {
    let case = &vectors("01-crypto")["ed25519"];
    let key = SecretSigningKey::from_seed(&case["seed"].array());
    assert_eq!(key.public().as_bytes()[..], case["public"].bytes());
    assert_eq!(key.public().to_cbor(), case["public_cbor"].cbor());
    assert_eq!(PublicSigningKey::from_cbor(&case["public_cbor"].cbor()).unwrap(), key.public());
    assert_eq!(key.to_cbor(), case["secret_cbor"].cbor());
    assert_eq!(SecretSigningKey::from_cbor(&case["secret_cbor"].cbor()).unwrap().hash(), key.hash());
    assert_eq!(key.to_pair_cbor(), case["keypair_cbor"].cbor());
    assert_eq!(multibase::encode(&key.to_pair_cbor().encode()), case["keypair_string"].text());
    assert_eq!(SecretSigningKey::from_pair_cbor(&case["keypair_cbor"].cbor()).unwrap().hash(), key.hash());
    assert_eq!(key.to_signer_cbor(), case["signer_and_hash_cbor"].cbor());
    assert_eq!(SecretSigningKey::from_signer_cbor(&case["signer_and_hash_cbor"].cbor()).unwrap().hash(), key.hash());

    assert_eq!(key.hash().to_string(), case["public_key_hash_string"].text());
    assert_eq!(key.hash().cid().to_bytes(), case["public_key_hash_cid_bytes"].bytes());
    assert_eq!(Value::from(key.hash()), case["public_key_hash_cbor"].cbor());
    assert_eq!(key.hash().signing_key().unwrap(), key.public());

    let message = case["message"].bytes();
    assert_eq!(key.sign(&message), case["signed_attached"].bytes());
    assert_eq!(key.sign_detached(&message)[..], case["signature_only"].bytes());
    assert_eq!(key.public().open(&case["signed_attached"].bytes()).unwrap(), message);
    assert!(key.public().open(&case["signature_only"].bytes()).is_err());
}

#[test]
fn many_signatures_at_once() {
    let case = &vectors("01-crypto")["ed25519"];
    let key = SecretSigningKey::from_seed(&case["seed"].array());
    let messages: Vec<Vec<u8>> = (0..40u8).map(|i| vec![i; usize::from(i)]).collect();
    let mut signatures: Vec<[u8; 64]> = messages.iter().map(|message| key.sign_detached(message)).collect();
    let verify = |signatures: &[[u8; 64]]| {
        let signed: Vec<_> = signatures.iter().zip(&messages).map(|(s, message)| (s, &message[..])).collect();
        key.public().verify_all(&signed)
    };
    for count in [0, 1, 2, 40] {
        verify(&signatures[..count]).unwrap();
    }
    for (i, byte) in (0..40).flat_map(|i| [(i, 0), (i, 31), (i, 32), (i, 63)]) {
        signatures[i][byte] ^= 1;
        assert!(verify(&signatures).is_err(), "byte {byte} of signature {i}");
        signatures[i][byte] ^= 1;
    }
    signatures.swap(3, 4);
    assert!(verify(&signatures).is_err());
    let other = SecretSigningKey::from_seed(&[0; 32]);
    assert!(other.public().verify_all(&[(&signatures[0], &messages[0])]).is_err());
}

#[test]
fn halves_that_do_not_belong_together() {
    let (one, other) = (SecretSigningKey::from_seed(&[1; 32]), SecretSigningKey::from_seed(&[2; 32]));
    let pair = Value::Array(vec![one.public().to_cbor(), other.to_cbor()]);
    assert!(SecretSigningKey::from_pair_cbor(&pair).is_err());
    let signer = peergos_crypto::cbor_map! { "p" => one.hash(), "s" => other.to_cbor() };
    assert!(SecretSigningKey::from_signer_cbor(&signer).is_err());
    let mut secret = one.to_cbor().encode();
    *secret.last_mut().unwrap() ^= 1;
    assert!(SecretSigningKey::from_cbor(&Value::decode(&secret).unwrap()).is_err());
}

#[test]
fn owner_proof() {
    let case = &vectors("01-crypto")["ed25519"];
    let owned = SecretSigningKey::from_seed(&case["owned_seed"].array());
    assert_eq!(owned.hash().to_string(), case["owned_key_hash"].text());
    let owner = case["owner_proof_owned_key_signs_owner_cbor"].bytes();
    let proof = peergos_crypto::cbor_map! { "o" => owned.hash(), "p" => owned.sign(&owner) };
    assert_eq!(proof, case["owner_proof_cbor"].cbor());
}

#[test]
fn key_hashes() {
    let keys = vectors("02-keys-cids-cbor")["keys"].clone();
    assert_eq!(keys.items().len(), 3);
    for case in keys.items() {
        let key = SecretSigningKey::from_seed(&case["seed"].array());
        assert_eq!(key.public().to_cbor(), case["publicKeyCbor"].cbor());
        assert_eq!(key.to_cbor(), case["secretKeyCbor"].cbor());
        assert_eq!(key.hash().to_string(), case["publicKeyHashString"].text());
        assert_eq!(key.hash().cid().to_bytes(), case["publicKeyHashCidBytes"].bytes());
        let link = case["publicKeyHashCbor"].cbor();
        assert_eq!(&KeyHash::from_cbor(&link, "key hash").unwrap(), key.hash());
        let mut reversed = link.encode();
        reversed.reverse();
        assert_eq!(reversed, case["ownedKeyChampKey"].bytes());
    }
}

#[test]
fn signers() {
    let case = &vectors("cryptree-structures")["signers"];
    for name in ["writerPrivateAndPublicHashCbor", "writer2PrivateAndPublicHashCbor"] {
        let signer = SecretSigningKey::from_signer_cbor(&case[name].cbor()).unwrap();
        assert_eq!(signer.to_signer_cbor(), case[name].cbor());
    }
    let owner = PublicSigningKey::from_cbor(&case["ownerPublicCbor"].cbor()).unwrap();
    assert_eq!(owner.hash().to_string(), case["ownerHashCid"].text());
    let writer = SecretSigningKey::from_cbor(&case["writerSecretCbor"].cbor()).unwrap();
    assert_eq!(writer.public().to_cbor(), case["writerPublicCbor"].cbor());
    assert_eq!(Value::from(writer.hash()), case["writerHashCbor"].cbor());
}

#[test]
fn symmetric() {
    let case = &vectors("01-crypto")["symmetric"];
    let key = SymmetricKey::from_bytes(case["key"].array());
    assert_eq!(key.to_cbor(), case["key_cbor"].cbor());
    let dirty = SymmetricKey::from_cbor(&case["dirty_key_cbor"].cbor()).unwrap();
    assert!(dirty.is_dirty() && dirty != key && dirty.with_dirty(false) == key);
    assert_eq!(dirty.to_cbor(), case["dirty_key_cbor"].cbor());
    assert_eq!(SymmetricKey::from_bytes([0; 32]).to_cbor(), case["null_key_cbor"].cbor());

    let nonce = case["nonce"].array();
    let sealed = key.seal(&nonce, &case["message"].bytes());
    assert_eq!(sealed, case["secretbox"].bytes());
    assert_eq!(*key.open(&nonce, &sealed).unwrap(), case["message"].bytes());

    let other = SymmetricKey::from_bytes(case["symmetric_link_to_key"].array());
    for (name, secret, block) in [
        ("ciphertext_of_cbor_string_peergos", Value::from("peergos"), 1),
        ("padded16_ciphertext_of_cbor_string_peergos", Value::from("peergos"), 16),
        ("symmetric_link_cbor", other.to_cbor(), 1),
    ] {
        let text = CipherText::seal_with(&key, nonce, &secret, block);
        assert_eq!(text.to_cbor(), case[name].cbor(), "{name}");
        assert_eq!(CipherText::from_cbor(&case[name].cbor()).unwrap().open(&key).unwrap(), secret);
    }
}

#[test]
fn more_symmetric() {
    let case = &vectors("social-crypto")["secretbox"];
    let key = SymmetricKey::from_cbor(&case["key"].cbor()).unwrap();
    let mut buffer = [vec![0; 16], case["plaintext"].bytes()].concat();
    seal_in_place(key.as_bytes(), &case["nonce"].array(), &mut buffer);
    assert_eq!(buffer, case["out"].bytes());
    assert_eq!(open_in_place(key.as_bytes(), &case["nonce"].array(), &mut buffer).unwrap(), case["plaintext"].bytes());

    let case = &vectors("cryptree-structures")["symmetricLinkToSigner"];
    let key = SymmetricKey::from_bytes(case["wBase"].array());
    let text = CipherText::from_cbor(&case["cbor"].cbor()).unwrap();
    assert_eq!(text.open(&key).unwrap(), case["plaintextCbor"].cbor());
    assert_eq!(CipherText::seal_with(&key, text.nonce, &case["plaintextCbor"].cbor(), 1), text);
}

#[test]
fn derived_keys() {
    let case = &vectors("01-crypto")["hashes"];
    assert_eq!(hkdf(&case["hkdf_ikm"].bytes())[..], case["hkdfKey"].bytes());
    let case = &vectors("social-crypto")["hkdf"];
    assert_eq!(hkdf(&case["ikm"].bytes())[..], case["out"].bytes());
}

#[test]
fn signed_times_and_requests() {
    let file = vectors("01-mfa-pki");
    let case = &file["auth"];
    let key = SecretSigningKey::from_seed(&file["pki"]["identity1_seed"].array());
    let (time, path) = (case["time_ms"].as_i64().unwrap(), case["signed_request_path"].text());
    let signed = signed_time::sign(&key, time);
    assert_eq!(signed, case["signed_time"].bytes());
    let request = signed_request::sign(&key, path, time);
    assert_eq!(request, case["signed_request"].bytes());
    assert_eq!(signed_request::to_cbor(path, time), case["signed_request_cbor"].cbor());

    let (key, other) = (key.public(), SecretSigningKey::from_seed(&[9; 32]).public());
    for (now, fits) in [(time, true), (time + 300, true), (time - 300, true), (time + 301, false), (time - 301, false)]
    {
        assert_eq!(signed_time::verify(&key, &signed, now, 300).is_ok(), fits);
        assert_eq!(signed_request::verify(&key, &request, path, now, 300).is_ok(), fits);
    }
    assert!(signed_time::verify(&other, &signed, time, 300).is_err());
    assert!(signed_time::verify(&key, &request, time, 300).is_err());
    assert!(signed_request::verify(&other, &request, path, time, 300).is_err());
    let error = signed_request::verify(&key, &request, "peergos/v0/login/deleteMfa", time, 300).unwrap_err();
    assert_eq!(error.to_string(), "Illegal path for signed request: peergos/v0/login/listMfa");
}

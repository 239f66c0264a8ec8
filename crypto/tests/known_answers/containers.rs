use peergos_crypto::{
    Error,
    boxing::BoxingKeyPair,
    cbor::Value,
    container::{PasswordProtected, Sourced, open_asymmetric, seal_asymmetric},
};

use crate::{Field, vectors};

fn hybrid_pairs() -> (BoxingKeyPair, BoxingKeyPair) {
    let case = &vectors("01-crypto")["hybrid"];
    let pair = |public: &str, secret: &str| {
        BoxingKeyPair::from_cbor(&Value::Array(vec![case[public].cbor(), case[secret].cbor()])).unwrap()
    };
    (pair("sender_public_cbor", "sender_secret_cbor"), pair("recipient_public_cbor", "recipient_secret_cbor"))
}

#[test]
fn sourced() {
    let (sender, recipient) = hybrid_pairs();
    let cbor = vectors("01-crypto")["asymmetric_wrappers"]["sourced_cbor_of_string_sourced"].cbor();
    let message = Sourced::from_cbor(&cbor).unwrap();
    assert_eq!(message.to_cbor(), cbor);
    assert_eq!(&message.from, sender.public());
    assert_eq!(message.open(&recipient).unwrap(), Value::from("sourced"));

    let message = Sourced::seal(&sender, recipient.public(), &Value::from("again")).unwrap();
    let message = Sourced::from_cbor(&message.to_cbor()).unwrap();
    assert_eq!(message.open(&recipient).unwrap(), Value::from("again"));
}

#[test]
fn padded() {
    let (sender, recipient) = hybrid_pairs();
    let case = &vectors("01-crypto")["asymmetric_wrappers"];
    let cbor = case["padded_asym_128_of_string_padded"].cbor();
    assert_eq!(cbor.encode().len() as u64, case["padded_len"].number());
    let sealed = cbor.as_bytes("padded").unwrap();
    let secret = Value::from("padded");
    assert_eq!(open_asymmetric(&recipient, sender.public(), sealed).unwrap(), secret);

    let again = seal_asymmetric(&sender, recipient.public(), &secret, 128).unwrap();
    assert_eq!(again.len(), sealed.len());
    assert_eq!(open_asymmetric(&recipient, sender.public(), &again).unwrap(), secret);
    assert_eq!(recipient.open(&again, sender.public()).unwrap().len(), 128);
}

#[test]
fn password_protected() {
    let case = &vectors("01-crypto")["password_protected"];
    let blob = PasswordProtected::from_cbor(&case["cbor"].cbor()).unwrap();
    assert_eq!(blob.to_cbor(), case["cbor"].cbor());
    assert_eq!(*blob.open(case["password"].text()).unwrap(), case["plaintext"].bytes());
    assert_eq!(blob.open("another").unwrap_err(), Error::Decryption);

    let blob = PasswordProtected::seal("pw", b"key file").unwrap();
    let blob = PasswordProtected::from_cbor(&blob.to_cbor()).unwrap();
    assert_eq!(&**blob.open("pw").unwrap(), b"key file");
}

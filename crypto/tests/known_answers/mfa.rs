use peergos_crypto::totp::Totp;

use crate::{Field, vectors};

#[test]
fn totp() {
    let case = &vectors("01-mfa-pki")["mfa"];
    let totp = Totp::new(case["credential_id"].array(), case["totp_key"].array());
    assert_eq!(*totp.to_text(), case["add_response_text"].text());
    assert!(Totp::from_text(case["add_response_text"].text()).unwrap() == totp);
    let codes = case["codes"].items();
    assert_eq!(codes.len(), 4);
    for code in codes {
        assert_eq!(totp.code(code["unix_seconds"].number()), code["code"].text());
    }
}

/// The server takes the current and the previous step, and no other.
#[test]
fn steps() {
    let totp = Totp::generate().unwrap();
    let code = totp.code(90);
    let accepted: Vec<u64> = (0..300).filter(|now| totp.verify(&code, *now)).collect();
    assert_eq!(accepted.first(), Some(&90));
    assert!((90..150).all(|now| accepted.contains(&now)));
    assert!(!totp.verify("", 90) && !totp.verify(&code[..5], 90) && !totp.verify(&(code + "0"), 90));
}

#[test]
fn malformed() {
    let text = Totp::generate().unwrap().to_text();
    for bad in ["", ":", &text[1..], &text[..text.len() - 1], &text.to_lowercase(), &text.replace(':', "")] {
        assert!(Totp::from_text(bad).is_err(), "{}", bad.len());
    }
    assert!(Totp::from_text(&format!("{}\n", *text)).is_ok());
}

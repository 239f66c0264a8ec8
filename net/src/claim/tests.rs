//! `01-mfa-pki.json` and the claims of `02-http-bodies.json`.

use peergos_crypto::{
    cbor::Value,
    cid::Cid,
    signing::{KeyHash, SecretSigningKey},
};
use serde_json::Value as Json;

use super::{Claim, ClaimChain, ClaimLink, Date, links_from_cbor, links_to_cbor, username};
use crate::{
    Error,
    tests::{bytes, vectors},
};

fn pki() -> Json {
    vectors("01-mfa-pki.json")["pki"].take()
}

fn links(hex: &Json) -> Vec<ClaimLink> {
    let encoded = bytes(hex);
    let links = links_from_cbor(&Value::decode(&encoded).unwrap()).unwrap();
    assert_eq!(links_to_cbor(&links).encode(), encoded);
    links
}

fn identity(seed: &Json) -> SecretSigningKey {
    SecretSigningKey::from_seed(bytes(seed)[..].try_into().unwrap())
}

fn date(text: &str) -> Date {
    text.parse().unwrap()
}

/// The link that hands `old`'s name over to `next`.
fn superseded(old: &SecretSigningKey, username: &str, next: &KeyHash) -> ClaimLink {
    ClaimLink {
        claim: Claim::sign(old, username, Date::NEVER, vec![]).unwrap(),
        owner: old.hash().clone(),
        key_change: Some(old.sign(&Value::from(next).encode())),
    }
}

fn chain_cbor(chain: &ClaimChain) -> String {
    hex::encode(links_to_cbor(&chain.links().cloned().collect::<Vec<_>>()).encode())
}

#[test]
fn a_first_claim() {
    let v = pki();
    let first = links(&v["initial_chain_cbor"]);
    let identity = identity(&v["identity1_seed"]);
    assert_eq!(identity.hash().to_string(), v["identity1"].as_str().unwrap());
    let home: Cid = v["host"].as_str().unwrap().parse().unwrap();
    assert_eq!(home.to_bytes(), bytes(&v["host_bytes"]));

    let expiry = first[0].claim.expiry;
    let claim = Claim::sign(&identity, "alice", expiry, vec![home.clone()]).unwrap();
    assert_eq!(claim, first[0].claim);

    let chain = ClaimChain::merge("alice", None, first.clone()).unwrap();
    assert_eq!((chain.username(), chain.identity(), chain.home()), ("alice", identity.hash(), &home));
    assert_eq!(chain.expiry(), expiry);
    assert_eq!(ClaimChain::merge("alice", Some(&chain), first.clone()).unwrap(), chain);
    assert!(ClaimChain::verify("bob", first).is_err());
}

#[test]
fn key_change_renewal_and_migration() {
    let v = pki();
    let first = ClaimChain::verify("alice", links(&v["initial_chain_cbor"])).unwrap();

    let change = links(&v["key_change_chain_update_cbor"]);
    let second = identity(&v["identity2_seed"]);
    assert_eq!(change[0], superseded(&identity(&v["identity1_seed"]), "alice", second.hash()));
    let changed = ClaimChain::merge("alice", Some(&first), change).unwrap();
    assert_eq!(chain_cbor(&changed), v["merged_chain_cbor"]);
    assert_eq!(changed.identity(), second.hash());

    let renewal = links(&v["renewal_update_cbor"]);
    let renewed = ClaimChain::merge("alice", Some(&changed), renewal.clone()).unwrap();
    assert_eq!(chain_cbor(&renewed), v["merged_after_renewal_cbor"]);
    // the last link alone says the same
    assert_eq!(ClaimChain::merge("alice", Some(&changed), renewal[1..].to_vec()).unwrap(), renewed);

    let migrated = ClaimChain::merge("alice", Some(&changed), links(&v["migration_chain_cbor"])).unwrap();
    assert_eq!(chain_cbor(&migrated), v["migration_chain_cbor"]);
    assert_ne!(migrated.home(), changed.home());
}

#[test]
fn rightless_continuations_are_refused() {
    let v = pki();
    let (one, two) = (identity(&v["identity1_seed"]), identity(&v["identity2_seed"]));
    let home: Cid = v["host"].as_str().unwrap().parse().unwrap();
    let first = ClaimChain::verify("alice", links(&v["initial_chain_cbor"])).unwrap();
    let changed = ClaimChain::verify("alice", links(&v["merged_chain_cbor"])).unwrap();
    let claim = |key: &SecretSigningKey, day: &str, homes: &[&Cid]| ClaimLink {
        claim: Claim::sign(key, "alice", date(day), homes.iter().map(|id| (*id).clone()).collect()).unwrap(),
        owner: key.hash().clone(),
        key_change: None,
    };
    let refusal = |existing: &ClaimChain, update: Vec<ClaimLink>, reason: &Json| {
        let reason = reason.as_str().unwrap().rsplit("Exception: ").next().unwrap();
        match ClaimChain::merge("alice", Some(existing), update) {
            Err(Error::Refused(text)) => assert_eq!(text, reason),
            other => panic!("{other:?} instead of {reason}"),
        }
    };
    let later = "2030-01-01";
    let back = vec![superseded(&two, "alice", one.hash()), claim(&one, later, &[&home])];
    refusal(&changed, back, &v["merge_reuse_old_key_error"]);
    refusal(&first, vec![claim(&two, later, &[&home])], &v["merge_different_key_single_error"]);
    refusal(&first, vec![claim(&one, "2020-01-01", &[&home])], &v["merge_earlier_expiry_error"]);
    refusal(&first, vec![claim(&one, later, &[&home, &home])], &v["two_hosts_error"]);
    refusal(&first, vec![claim(&one, later, &[])], &v["no_hosts_error"]);
    let other = vec![superseded(&two, "alice", one.hash()), claim(&one, later, &[&home])];
    refusal(&first, other, &"Different keys in merge chains intersection!".into());
    refusal(&changed, changed.links().take(1).cloned().collect(), &"Invalid key chain merge!".into());

    let mut with_home = superseded(&one, "alice", two.hash());
    with_home.claim = Claim::sign(&one, "alice", Date::NEVER, vec![home.clone()]).unwrap();
    let reason = "Non empty storage providers in old claim for alice".into();
    refusal(&first, vec![with_home, claim(&two, later, &[&home])], &reason);

    // a key change to somebody else, and none at all
    let mut wrong = superseded(&one, "alice", one.hash());
    assert!(ClaimChain::verify("alice", vec![wrong.clone(), claim(&two, later, &[&home])]).is_err());
    wrong.key_change = None;
    assert!(ClaimChain::verify("alice", vec![wrong, claim(&two, later, &[&home])]).is_err());
    // an identity that returns, and no identity
    let circle = vec![
        superseded(&one, "alice", two.hash()),
        superseded(&two, "alice", one.hash()),
        claim(&one, later, &[&home]),
    ];
    assert!(ClaimChain::verify("alice", circle).is_err());
    assert!(ClaimChain::verify("alice", vec![]).is_err());
}

#[test]
fn a_first_claim_is_verified_in_every_field() {
    let v = pki();
    let good = links(&v["initial_chain_cbor"]).remove(0);
    ClaimChain::merge("alice", None, vec![good.clone()]).unwrap();
    let spoilt: [fn(&mut ClaimLink); 4] = [
        |link| link.claim.username = "bob".into(),
        |link| link.claim.expiry = Date::NEVER,
        |link| link.claim.providers = vec![link.owner.cid().clone()],
        |link| link.owner = SecretSigningKey::from_seed(&[7; 32]).hash().clone(),
    ];
    for spoil in spoilt {
        let mut link = good.clone();
        spoil(&mut link);
        let name = link.claim.username.clone();
        assert!(ClaimChain::merge(&name, None, vec![link]).is_err());
    }
    let encoded = links_to_cbor(&[good]).encode();
    for at in 0..encoded.len() {
        let mut bad = encoded.clone();
        bad[at] ^= 1;
        let parsed = Value::decode(&bad).ok().and_then(|value| links_from_cbor(&value).ok());
        assert!(parsed.is_none_or(|links| ClaimChain::merge("alice", None, links).is_err()), "byte {at}");
    }
}

#[test]
fn claims_in_calls() {
    for case in vectors("02-http-bodies.json").as_array().unwrap() {
        match case["name"].as_str().unwrap() {
            "UserPublicKeyLink initial alice exp 2030-01-31" => {
                let encoded = bytes(&case["cbor"]);
                let link = ClaimLink::from_cbor(&Value::decode(&encoded).unwrap()).unwrap();
                assert_eq!(link.to_cbor().encode(), encoded);
                let signed = link.to_cbor().as_map("").unwrap().get("claim").unwrap().as_array("").unwrap()[3].clone();
                assert_eq!(signed.as_bytes("").unwrap()[64..], bytes(&case["claimSignedPayload"]));
                ClaimChain::verify("alice", vec![link]).unwrap();
            }
            "UserPublicKeyLink key change chain owner->writer" => {
                ClaimChain::verify("alice", links(&case["cbor"])).unwrap();
            }
            _ => {}
        }
    }
    let store = Value::decode(&bytes(&pki()["tofu_keystore_cbor"])).unwrap();
    for (name, chain) in store.as_map("key store").unwrap().iter() {
        ClaimChain::verify(name, links_from_cbor(chain).unwrap()).unwrap();
    }
}

#[test]
fn renewal() {
    let v = pki();
    let key = identity(&v["identity1_seed"]);
    let home: Cid = v["host"].as_str().unwrap().parse().unwrap();
    let chain = ClaimChain::first(&key, "alice", &home, date("2027-01-31")).unwrap();
    assert_eq!(chain.expiry(), date("2027-03-31"));
    assert!(!chain.needs_renewal(date("2027-02-28")));
    assert!(chain.needs_renewal(date("2027-03-01")));
    let renewed = chain.renewed(&key, &home, date("2027-03-01")).unwrap();
    assert_eq!(renewed.expiry(), date("2027-05-01"));
    let update: Vec<_> = renewed.links().cloned().collect();
    assert_eq!(ClaimChain::merge("alice", Some(&chain), update).unwrap(), renewed);
    // a clock that is behind does not shorten the claim
    assert_eq!(chain.renewed(&key, &home, date("2026-01-01")).unwrap().expiry(), chain.expiry());
    assert!(chain.renewed(&identity(&v["identity2_seed"]), &home, date("2027-03-01")).is_err());
}

#[test]
fn dates() {
    for (from, months, to) in [
        ("2026-12-31", 2, "2027-02-28"),
        ("2027-12-31", 2, "2028-02-29"),
        ("2100-01-31", 1, "2100-02-28"),
        ("2000-01-30", 1, "2000-02-29"),
        ("2026-08-22", 2, "2026-10-22"),
        ("2026-11-01", 14, "2028-01-01"),
        ("9999-11-30", 2, "9999-12-31"),
        ("+999999999-12-31", 2, "+999999999-12-31"),
    ] {
        assert_eq!(date(from).plus_months(months).to_string(), to);
    }
    for (seconds, day) in [
        (0, "1970-01-01"),
        (86_399, "1970-01-01"),
        (86_400, "1970-01-02"),
        (-1, "1969-12-31"),
        (951_782_400, "2000-02-29"),
        (4_107_542_400, "2100-03-01"),
        (1_795_309_485, "2026-11-22"),
        (i64::MAX, "9999-"),
    ] {
        assert_eq!(Date::from_unix_seconds(seconds).to_string().get(..day.len()), Some(day), "{seconds}");
    }
    for wrong in [
        "",
        "2026-1-01",
        "2026-02-29",
        "2026-13-01",
        "2026-00-10",
        "2026-01-00",
        "2026/01/01",
        "+2026-01-01",
        "2026-01-01 ",
        "２026-01-01",
    ] {
        assert!(wrong.parse::<Date>().is_err(), "{wrong}");
    }
    assert!(date("9999-12-31") < Date::NEVER);
}

#[test]
fn usernames() {
    for name in ["a", "0", "alice", "a-b", "a-b-c9", "peergos", &"x".repeat(32)] {
        assert!(username::is_valid(name), "{name}");
    }
    for name in ["", "-a", "a-", "a--b", "A", "a_b", "a b", "ä", "admin", "groups", "a\n", &"x".repeat(33)] {
        assert!(!username::is_valid(name), "{name}");
    }
    let legacy = vectors("01-legacy-usernames.json");
    let legacy = legacy.as_array().unwrap();
    assert_eq!(legacy.len(), 219);
    for name in legacy {
        assert!(username::is_valid(name.as_str().unwrap()), "{name}");
    }
    assert!(!username::is_valid("0_0\n1"));
}

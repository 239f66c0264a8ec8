//! Second factors from the first call to the last.

use peergos_crypto::{cbor::Value, multibase, totp::Totp};

use super::world::World;
use crate::{
    embedded::tests::support::millis,
    login::LoginResponse,
    mfa::{BackupCodes, FactorKind, MfaMethod, MfaRequest, MfaResponse},
};

fn now() -> u64 {
    millis() as u64 / 1000
}

fn added(answer: super::Answer) -> Totp {
    Totp::from_text(&String::from_utf8(answer.ok()).unwrap()).unwrap()
}

fn credential(id: &[u8]) -> String {
    format!("&credid={}", multibase::hex(id))
}

impl World {
    fn add_totp(&self) -> Totp {
        let totp = added(self.login("addTotp", ""));
        let query = format!("{}&code={}", credential(&totp.credential_id), totp.code(now()));
        assert_eq!(self.login("enableTotp", &query).ok(), [0xf5]);
        totp
    }

    fn factors(&self) -> Vec<MfaMethod> {
        MfaMethod::list_from_cbor(&Value::decode(&self.login("listMfa", "").ok()).unwrap()).unwrap()
    }

    fn answer(&self, id: &[u8], code: &str) -> super::Answer {
        let mfa = MfaResponse::code(id, code).to_cbor().encode();
        self.get_login(&format!("&mfa={}", multibase::hex(&mfa)))
    }

    fn challenge(&self, query: &str) -> Option<MfaRequest> {
        match LoginResponse::from_cbor(&Value::decode(&self.get_login(query).ok()).unwrap()).unwrap() {
            LoginResponse::EntryPoints(_) => None,
            LoginResponse::SecondFactor(request) => Some(MfaRequest::from_cbor(&request).unwrap()),
        }
    }
}

fn is_in(answer: super::Answer) -> bool {
    matches!(LoginResponse::from_cbor(&Value::decode(&answer.ok()).unwrap()), Ok(LoginResponse::EntryPoints(_)))
}

#[test]
fn authenticator_app() {
    let world = World::new();
    assert!(world.factors().is_empty() && world.challenge("").is_none());
    let abandoned = added(world.login("addTotp", ""));
    assert!(world.factors().is_empty() && world.challenge("").is_none());
    let totp = added(world.login("addTotp", ""));
    let enable = |totp: &Totp, code: &str| {
        world.login("enableTotp", &format!("{}&code={code}", credential(&totp.credential_id)))
    };
    enable(&abandoned, &abandoned.code(now())).refused("Unknown credential id for user alice");
    let wrong = if totp.code(now()) == "123456" { "654321" } else { "123456" };
    enable(&totp, wrong).refused(&format!("Invalid TOTP code for credId {}", multibase::hex(&totp.credential_id)));
    assert!(world.challenge("").is_none());
    assert_eq!(enable(&totp, &totp.code(now())).ok(), [0xf5]);

    let request = world.challenge("").unwrap();
    assert_eq!((request.methods.len(), request.methods[0].kind), (1, FactorKind::Totp));
    assert!(world.challenge("&mfaTypes=3").unwrap().methods.is_empty());
    assert!(is_in(world.answer(&totp.credential_id, &totp.code(now()))));
    assert!(is_in(world.answer(&totp.credential_id, &totp.code(now() - 30))));
    for code in [totp.code(now() + 90), totp.code(now() - 90), String::new(), "0000000".to_owned()] {
        world.answer(&totp.credential_id, &code).refused("Invalid TOTP code");
    }
    world.answer(&[1; 32], &totp.code(now())).refused("Unknown credential id");

    // a new app takes the old one's place
    let second = world.add_totp();
    assert_eq!(world.factors().len(), 1);
    world.answer(&totp.credential_id, &totp.code(now())).refused("Unknown credential id");
    assert!(is_in(world.answer(&second.credential_id, &second.code(now()))));
}

#[test]
fn backup_codes_are_used_up() {
    let world = World::new();
    world.login("genBackupCodes", "").refused("Please set up an authenticator app or security key");
    let totp = world.add_totp();
    let codes = || {
        let reply = world.login("genBackupCodes", "").ok();
        BackupCodes::from_cbor(&Value::decode(&reply).unwrap()).unwrap()
    };
    let old = codes();
    let new = codes();
    assert_eq!((new.codes.len(), new.codes[0].len()), (10, 10));
    world.answer(&old.id, &old.codes[0]).refused("Unknown credential id");
    world.answer(&new.id, &old.codes[0]).refused("Invalid backup code");
    let request = world.challenge("&mfaTypes=1,2,3,4").unwrap();
    assert_eq!(request.methods.iter().map(|method| method.name.as_str()).collect::<Vec<_>>(), ["", "10"]);
    for (left, code) in new.codes.iter().enumerate().map(|(used, code)| (9 - used, code)) {
        let typed = format!("{}-{}", code[..5].to_uppercase(), &code[5..]);
        assert!(is_in(world.answer(&new.id, &typed)));
        world.answer(&new.id, code).refused("Invalid backup code");
        let shown = world.factors().into_iter().find(|factor| factor.kind == FactorKind::BackupCodes);
        assert_eq!(shown.map(|factor| factor.name), (left > 0).then(|| left.to_string()));
    }
    // they go with what they stand in for
    codes();
    assert_eq!(world.login("deleteMfa", &credential(&totp.credential_id)).ok(), [0xf5]);
    assert!(world.factors().is_empty() && world.challenge("").is_none());
}

#[test]
fn mount_factor() {
    let world = World::new();
    let long = "&name=".to_owned() + &"x".repeat(33);
    world.login("addMount", &long).refused("Second factor names must be smaller than 33 characters");
    let mount = added(world.login("addMount", "&name=Drive%20mount%20-%20linux%201"));
    let query = format!("{}&code={}", credential(&mount.credential_id), mount.code(now()));
    world.login("enableTotp", &query).refused("Second factor");
    assert_eq!(world.login("enableMount", &query).ok(), [0xf5]);
    assert_eq!(world.factors()[0].name, "Drive mount - linux 1");
    // alone it asks for nothing, but answers if it is asked
    assert!(world.challenge("").is_none());
    assert!(is_in(world.answer(&mount.credential_id, &mount.code(now()))));
    world.add_totp();
    let request = world.challenge("&mfaTypes=1,2,3,4").unwrap();
    assert!(request.methods.iter().all(|method| method.kind == FactorKind::Totp));
    assert!(is_in(world.answer(&mount.credential_id, &mount.code(now()))));
    // what is revoked answers no more
    assert_eq!(world.login("deleteMfa", &credential(&mount.credential_id)).ok(), [0xf5]);
    world.answer(&mount.credential_id, &mount.code(now())).refused("Unknown credential id");
}

#[test]
fn there_are_not_too_many() {
    let world = World::new();
    for n in 0..10 {
        let mount = added(world.login("addMount", &format!("&name={n}")));
        let query = format!("{}&code={}", credential(&mount.credential_id), mount.code(now()));
        world.login("enableMount", &query).ok();
    }
    world.login("addMount", "&name=x").refused("Too many multi factor auth methods. Please delete some.");
}

#[test]
fn guessing_codes_is_stopped() {
    let world = World::new();
    let totp = world.add_totp();
    let wrong = |_| world.answer(&totp.credential_id, "x").refusal().unwrap_or_default();
    let refusals: Vec<String> = (0..22).map(wrong).collect();
    assert!(refusals[0].starts_with("Invalid TOTP code"));
    assert!(refusals[21].starts_with("Too many failed logins"));
    world.answer(&totp.credential_id, &totp.code(now())).refused("Too many failed logins");
}

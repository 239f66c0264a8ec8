//! Login data and mirror BATs (spec 01 §6, §7, §9; 02 §14, §15).

use peergos_crypto::{bat::Bat, cbor::Value, signed_request, signed_time, signing::SecretSigningKey};

use super::support::*;
use crate::{
    EmbeddedNode, Error, Node, PointerUpdate,
    login::{LoginData, LoginResponse},
    mfa::MfaResponse,
};

const DAY: i64 = 24 * 3_600_000;

fn get(node: &EmbeddedNode, client: &Client, login: &SecretSigningKey, time: i64) -> Result<LoginResponse, Error> {
    let response = node.get_login(&client.username, &login.public(), &signed_time::sign(login, time), None)?;
    Ok(LoginResponse::from_cbor(&Value::decode(&response)?).unwrap())
}

fn set(node: &EmbeddedNode, data: &LoginData, identity: &SecretSigningKey) -> Result<(), Error> {
    node.set_login(&data.username, &data.to_cbor().encode(), &data.authorise(identity))
}

#[test]
fn only_the_login_key_gets_the_entry_points() {
    let (_dir, node) = fresh();
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    let stored = LoginResponse::EntryPoints(client.login_data().entry_points);
    for time in [millis(), millis() - DAY + 60_000, millis() + DAY - 60_000] {
        assert_eq!(get(&node, &client, &client.login, time).unwrap(), stored);
    }
    for time in [0, millis() - DAY - 60_000, millis() + DAY + 60_000, i64::MAX, i64::MIN] {
        let error = get(&node, &client, &client.login, time).unwrap_err();
        assert_eq!(error.to_string(), "Stale auth time, is your clock accurate?");
    }
    assert!(matches!(get(&node, &client, &client.writer, millis()), Err(Error::IncorrectLogin)));
    assert!(matches!(get(&node, &Client::new("bob"), &client.login, millis()), Err(Error::IncorrectLogin)));
    let forged = signed_time::sign(&client.writer, millis());
    let error = node.get_login("alice", &client.login.public(), &forged, None).unwrap_err();
    assert!(matches!(error, Error::Crypto(peergos_crypto::Error::Signature)));
}

#[test]
fn who_has_no_key_keeps_nobody_out() {
    let (_dir, node) = fresh();
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    for i in 0..100 {
        let guess = SecretSigningKey::from_seed(&[i; 32]);
        assert!(matches!(get(&node, &client, &guess, millis()), Err(Error::IncorrectLogin)));
        let answer = MfaResponse::code(&[1; 32], "123456").to_cbor().encode();
        let with_code = node.get_login("alice", &guess.public(), &signed_time::sign(&guess, millis()), Some(&answer));
        assert!(matches!(with_code, Err(Error::IncorrectLogin)));
    }
    get(&node, &client, &client.login, millis()).unwrap();
}

#[test]
fn guessing_codes_is_slow() {
    let (_dir, node) = fresh();
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    let auth = |call: &str| client.request_auth(&format!("peergos/v0/login/{call}"));
    let totp = node.add_totp("alice", &auth("addTotp")).unwrap();
    let code = || totp.code(millis() as u64 / 1000);
    node.enable_totp("alice", &totp.credential_id, &code(), &auth("enableTotp")).unwrap();
    let answer = |code: &str| {
        let answer = MfaResponse::code(&totp.credential_id, code).to_cbor().encode();
        let auth = signed_time::sign(&client.login, millis());
        node.get_login("alice", &client.login.public(), &auth, Some(&answer)).map_err(|error| error.to_string())
    };
    for _ in 0..30 {
        answer(&code()).unwrap();
    }
    for _ in 0..20 {
        assert!(answer("x").unwrap_err().starts_with("Invalid TOTP code"));
    }
    for code in ["x", &code()] {
        assert!(answer(code).unwrap_err().starts_with("Too many failed logins"));
    }
    // the others are not affected, and neither is who asks what to answer
    assert!(matches!(get(&node, &client, &client.login, millis()).unwrap(), LoginResponse::SecondFactor(_)));
    let other = Client::new("bob");
    other.sign_up(&*node).unwrap();
    get(&node, &other, &other.login, millis()).unwrap();
}

#[test]
fn login_data_is_replaced_by_the_identity_only() {
    let (_dir, node) = fresh();
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    let new_login = SecretSigningKey::from_seed(&[9; 32]);
    let new = LoginData { entry_points: Value::from("new"), reader: new_login.public(), ..client.login_data() };
    assert!(matches!(set(&node, &new, &client.writer), Err(Error::Crypto(peergos_crypto::Error::Signature))));
    let mallory = Client::new("mallory");
    mallory.sign_up(&*node).unwrap();
    let auth = new.authorise(&mallory.identity);
    assert!(node.set_login("mallory", &new.to_cbor().encode(), &auth).is_err(), "another's data under one's own name");
    let big = LoginData { entry_points: Value::from(vec![0; 16_384]), ..new.clone() };
    assert_eq!(
        set(&node, &big, &client.identity).unwrap_err().to_string(),
        "Input exceeds maximum size of 16384 bytes"
    );
    let nobody = LoginData { username: "nobody".into(), ..new.clone() };
    assert_eq!(set(&node, &nobody, &client.identity).unwrap_err().to_string(), "No value present");
    assert!(get(&node, &client, &client.login, millis()).is_ok());

    set(&node, &new, &client.identity).unwrap();
    assert!(matches!(get(&node, &client, &client.login, millis()), Err(Error::IncorrectLogin)));
    let stored = get(&node, &client, &new_login, millis()).unwrap();
    assert_eq!(stored, LoginResponse::EntryPoints(new.entry_points));
}

#[test]
fn a_password_changes_in_one_step() {
    let (_dir, node) = fresh();
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    let (_, pointer, mut data) = client.data(&node, &client.identity);
    data.algorithm = Some(Value::from("another salt"));
    let new_login = SecretSigningKey::from_seed(&[9; 32]);
    let change = |key: &SecretSigningKey, pointer: &PointerUpdate| LoginData {
        reader: new_login.public(),
        identity_update: Some((
            block_write(data.block(), key),
            pointer_write(Some(pointer), Some(data.block().cid().clone()), key),
        )),
        ..client.login_data()
    };
    let stale = PointerUpdate { updated: None, ..pointer.clone() };
    assert!(matches!(set(&node, &change(&client.identity, &stale), &client.identity), Err(Error::PointerCas { .. })));
    let by_writer = set(&node, &change(&client.writer, &pointer), &client.identity);
    assert!(matches!(by_writer, Err(Error::Refused(reason)) if reason == "Invalid login data!"));
    let mut unsigned = change(&client.identity, &pointer);
    unsigned.identity_update.as_mut().unwrap().0.block.signature[0] ^= 1;
    assert!(matches!(set(&node, &unsigned, &client.identity), Err(Error::BlockSignature)));
    // nothing has happened yet
    assert!(get(&node, &client, &client.login, millis()).is_ok());
    assert_eq!(client.data(&node, &client.identity).1, pointer);

    set(&node, &change(&client.identity, &pointer), &client.identity).unwrap();
    assert!(matches!(get(&node, &client, &client.login, millis()), Err(Error::IncorrectLogin)));
    assert!(get(&node, &client, &new_login, millis()).is_ok());
    assert_eq!(client.data(&node, &client.identity).2.algorithm, data.algorithm);
}

#[test]
fn second_factors_are_kept_and_asked_for() {
    let (_dir, node) = fresh();
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    let (mut car, mut json) = (Vec::new(), Vec::new());
    node.export("alice", &mut car, &mut json).unwrap();
    let factor = |kind: i64, enabled: bool| {
        serde_json::json!({
            "name": "phone", "credid": "aWQ=", "type": kind, "enabled": enabled, "created": 20_000, "value": "a2V5",
        })
    };
    let with = |factors: &[serde_json::Value]| {
        let mut state: serde_json::Value = serde_json::from_slice(&json).unwrap();
        state["mfa"] = factors.into();
        let (dir, node) = fresh();
        node.import(&car[..], state.to_string().as_bytes()).unwrap();
        let mut exported = Vec::new();
        node.export("alice", std::io::sink(), &mut exported).unwrap();
        let exported: serde_json::Value = serde_json::from_slice(&exported).unwrap();
        assert_eq!(exported, state);
        (get(&node, &client, &client.login, millis()).unwrap(), dir)
    };
    for quiet in [vec![], vec![factor(1, false)], vec![factor(3, true), factor(4, true)]] {
        assert!(matches!(with(&quiet).0, LoginResponse::EntryPoints(_)));
    }
    for kind in [1, 2] {
        let (response, _dir) = with(&[factor(4, true), factor(kind, true), factor(kind, false)]);
        let LoginResponse::SecondFactor(request) = response else { panic!("logged in without a second factor") };
        let request = request.as_map("request").unwrap();
        assert_eq!(request.get("c").unwrap().as_bytes("challenge").unwrap().len(), 32);
        let [method] = request.get("m").unwrap().as_array("methods").unwrap() else { panic!("other methods") };
        let method = method.as_map("method").unwrap();
        assert_eq!(method.get("t"), Some(&Value::Int(kind)));
        assert_eq!(method.get("i"), Some(&Value::from(&b"id"[..])));
        assert!(method.get("v").is_none(), "the secret is out");
        assert_eq!(method.len(), 5);
    }
}

#[test]
fn mirror_bats() {
    let (_dir, node) = fresh();
    let client = Client::new("alice");
    client.sign_up(&*node).unwrap();
    let (add, list) = ("peergos/v0/bats/addBat", "peergos/v0/bats/getUserBats");
    let bats = || node.get_user_bats("alice", &client.request_auth(list));
    assert_eq!(bats().unwrap(), [client.mirror_bat()]);
    let second = Bat::from_bytes([7; 32]);
    let second = peergos_crypto::bat::BatWithId { id: second.mirror_id(), bat: second };
    for (bat, auth) in [
        (second.bat.with_chunk_id(), client.request_auth(add)),
        (second.clone(), client.request_auth(list)),
        (second.clone(), signed_request::sign(&client.writer, add, millis())),
        (second.clone(), signed_request::sign(&client.identity, add, millis() - 310_000)),
        (second.clone(), Vec::new()),
    ] {
        assert!(node.add_bat("alice", &bat, &auth).is_err());
    }
    assert_eq!(node.add_bat("bob", &second, &[]).unwrap_err().to_string(), "No value present");
    assert_eq!(bats().unwrap().len(), 1);
    for _ in 0..2 {
        node.add_bat("alice", &second, &client.request_auth(add)).unwrap();
        assert_eq!(bats().unwrap(), [client.mirror_bat(), second.clone()]);
    }
    assert!(node.get_user_bats("alice", &client.request_auth(add)).is_err());
}

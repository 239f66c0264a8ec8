//! What a person does with an account besides mounting it: another password, second factors, the end of it.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use peergos_crypto::totp::Totp;
use serde_json::{Value, json};

use crate::harness::{Drive, expect_failure, program, run, run_ok, terminal};

/// Exit codes, as `--help` documents them.
const USAGE: Option<i32> = Some(2);
const LOGIN: Option<i32> = Some(3);
const KEYRING: Option<i32> = Some(8);

/// A drive with a file in it, not mounted.
fn drive() -> Drive {
    let mut drive = Drive::mounted();
    fs::write(drive.path("x"), "kept").unwrap();
    drive.unmount();
    drive
}

#[test]
fn another_password() {
    let mut drive = drive();
    let before = fs::read_dir(drive.state()).unwrap().count();
    run_ok(drive.order("passwd").env("PEERGOS_NEW_PASSWORD", "a new one"));
    let ran = expect_failure(&mut drive.order("login"), &["wrong password"]);
    assert_eq!(ran.code, LOGIN);
    let ran = expect_failure(drive.order("passwd").env("PEERGOS_NEW_PASSWORD", "x"), &["wrong password"]);
    assert_eq!(ran.code, LOGIN);
    drive.account.password = "a new one".into();
    let ran = expect_failure(&mut drive.order("passwd"), &["--new-password-file"]);
    assert_eq!(ran.code, LOGIN);
    drive.mount();
    assert_eq!(fs::read(drive.path("x")).unwrap(), b"kept");
    drive.check();
    assert!(fs::read_dir(drive.state()).unwrap().count() <= before + 1);
}

#[test]
fn passwords_from_files() {
    let drive = drive();
    let passwords = drive.beside("passwords");
    fs::write(&passwords, format!("{}\nanother\n", drive.account.password)).unwrap();
    let mut passwd = program();
    passwd.args(["passwd", "--password-file", "-", "--new-password-file", "-", "--state"]).arg(drive.state());
    run_ok(passwd.stdin(fs::File::open(&passwords).unwrap()));
    run_ok(drive.order("login").env("PEERGOS_PASSWORD", "another"));
}

#[test]
fn without_a_keyring_nothing_is_kept() {
    let drive = drive();
    for subcommand in [&["login", "--remember"][..], &["logout"]] {
        let ran = expect_failure(drive.order(subcommand[0]).args(&subcommand[1..]), &["keyring"]);
        assert_eq!(ran.code, KEYRING, "{}", ran.err);
    }
    let ran = expect_failure(drive.command().env_remove("PEERGOS_PASSWORD"), &["password"]);
    assert_eq!(ran.code, LOGIN, "{}", ran.err);
}

#[test]
fn a_second_factor() {
    let mut first = drive();
    // with an authenticator app whose key is known
    let export = first.export();
    let zeros = format!("{}=", "A".repeat(43));
    let mut state: Value = serde_json::from_slice(&fs::read(&export.json).unwrap()).unwrap();
    state["mfa"] = json!([
        {"name": "app", "credid": zeros, "type": 1, "enabled": true, "created": 20_000, "value": zeros}
    ]);
    fs::write(&export.json, state.to_string()).unwrap();
    let mut drive = Drive::new();
    drive.import(&export);

    let ran = expect_failure(&mut drive.command(), &["second factor"]);
    assert_eq!(ran.code, LOGIN, "{}", ran.err);
    let app = Totp::new([0; 32], [0; 32]);
    let code = || app.code(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs());
    let wrong = if code() == "123456" { "654321" } else { "123456" };
    let ran = expect_failure(drive.order("login").env("PEERGOS_MFA_CODE", wrong), &["second factor"]);
    assert_eq!(ran.code, LOGIN, "{}", ran.err);
    run_ok(drive.order("login").env("PEERGOS_MFA_CODE", code()));
    run_ok(drive.order("passwd").env("PEERGOS_MFA_CODE", code()).env("PEERGOS_NEW_PASSWORD", "a new one"));
    drive.account.password = "a new one".into();

    let mut login = terminal(&[&format!("Password={}", drive.account.password), &format!("Code: ={}", code())]);
    login.args(["login", "--state"]).arg(drive.state());
    let shown = run_ok(&mut login);
    assert!(shown.contains("authenticator app") && shown.contains("is right"), "{shown}");
    assert!(!shown.contains(&drive.account.password), "{shown}");
}

#[test]
fn the_end_of_an_account() {
    let drive = drive();
    let ran = expect_failure(&mut drive.order("delete-account"), &["terminal"]);
    assert_eq!(ran.code, USAGE, "{}", ran.err);
    let delete = |answers: &[&str]| {
        let mut delete = terminal(answers);
        delete.args(["delete-account", "--state"]).arg(drive.state());
        delete
    };
    assert_eq!(run(&mut delete(&["To go on=Carol"])).code, USAGE);
    run_ok(&mut drive.order("login"));
    assert_eq!(fs::read_dir(drive.state().join("journal")).unwrap().count(), 1);
    run_ok(&mut delete(&["To go on=carol", &format!("Password={}", drive.account.password)]));
    assert_eq!(fs::read_dir(drive.state().join("journal")).unwrap().count(), 0);
    let ran = expect_failure(&mut drive.order("login"), &["deleted"]);
    assert_eq!(ran.code, LOGIN, "{}", ran.err);
}

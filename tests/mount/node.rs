//! The program as a server: accounts of the reference client served to a client that is not ours, what its operator can
//! say, and how it ends.

use std::fs;

use crate::harness::{
    Account, Drive, Golden, Scratch, Server, expect_failure, filled, node, python, run, run_ok, shell,
};

#[test]
fn accounts_are_served_as_they_are() {
    let served = Server::golden(&[&Golden::load("ada"), &Golden::load("bob")]);
    let checker = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/peergos_check.py");
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/manifest.json");
    for name in ["ada", "bob"] {
        let account = Golden::load(name).account;
        let mut check = python();
        check.args([checker, "http", served.url(), name, &account.password, "--expect", manifest]);
        let ran = run(&mut check);
        let verdict = ran.out.lines().last().unwrap_or_default();
        assert!(ran.code == Some(0) && verdict.contains(" 0 errors"), "{}{}", ran.out, ran.err);
    }
    served.stop();
}

#[test]
fn what_a_mount_without_network_wrote_is_served() {
    let mut drive = Drive::mounted();
    shell(
        &drive.root(),
        "mkdir -p a/b; for i in $(seq 700); do echo $i > a/$i; done; rm a/3*; mv a/b b; ln -s a b/link; sync a
         for i in $(seq 100); do echo more >> a/7; mv a/$((400 + i)) b/; done; truncate -s 7M b/410; rm -r a/5*",
    );
    fs::write(drive.path("large"), filled(1, (11 << 20) + 3)).unwrap();
    let written = drive.tree();
    drive.unmount();
    let server = Server::on(&drive.state(), &[]);
    server.check(&Account::carol()).assert_shows("carol", false, &written);
    server.stop();
}

#[test]
fn orders_reach_the_server_and_the_state() {
    let scratch = Scratch::new();
    let state = scratch.join("state");
    for name in ["ada", "bob"] {
        Golden::load(name).import_into(&state);
    }
    let order = |args: &[&str]| run_ok(&mut node(&state, args));
    let is_token = |text: &str| text.trim_end().len() == 64;
    assert!(is_token(&order(&["token"])));
    order(&["quota", "ada", "20M"]);
    let served = Server::on(&state, &["--metrics", "127.0.0.1:0"]);
    assert!(is_token(&order(&["token"])));
    let accounts = order(&["accounts"]);
    let quota = |name: &str, accounts: &str| {
        let row = accounts.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        row.split('\t').nth(2).unwrap().to_owned()
    };
    assert_eq!((quota("ada", &accounts).as_str(), quota("bob", &accounts).as_str()), ("20971520", "-"));
    order(&["quota", "bob", "1G"]);
    assert_eq!(quota("bob", &order(&["accounts"])), "1073741824");
    let nobody = expect_failure(&mut node(&state, &["quota", "nobody", "1G"]), &["no such account"]);
    assert_eq!(nobody.code, Some(4));

    // one at a time, on one address at a time
    let taken = expect_failure(&mut node(&state, &["--listen", "127.0.0.1:0"]), &["in use"]);
    assert_eq!(taken.code, Some(4));
    let other = Scratch::new();
    let mut second = node(&other.join("state"), &["--listen", &served.address().to_string()]);
    let taken = expect_failure(&mut second, &["could not listen"]);
    assert_eq!(taken.code, Some(1));
    served.stop();
    assert_eq!(quota("bob", &order(&["accounts"])), "1073741824");
}

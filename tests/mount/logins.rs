//! Logging in at a server: invitations, second factors, and logins that a keyring keeps.

use std::fs;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use peergos_crypto::{signed_request, totp::Totp};
use peergos_fs::account::{self, Step};
use peergos_net::mfa::FactorKind;
use peergos_net::{Node as _, RemoteNode, RemoteOptions, Verified};
use peergos_testing::{Answer, way};

use crate::harness::{Account, Drive, Keyring, Server, expect_failure, program, run, run_ok, terminal};

/// Exit codes, as `--help` documents them.
const LOGIN: Option<i32> = Some(3);
const SERVER: Option<i32> = Some(7);
const KEYRING: Option<i32> = Some(8);

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// What the owner of an account does about it with another client.
struct Owner {
    node: Arc<RemoteNode>,
    account: account::Account,
}

impl Owner {
    fn log_in(server: &Server, account: &Account) -> Self {
        let node = Arc::new(RemoteNode::new(&RemoteOptions::new(server.url())).unwrap());
        let verified = Arc::new(Verified::new(node.clone(), Default::default()));
        let Account { username, password } = account;
        let now = SystemTime::now();
        Self { account: account::log_in(&verified, username, password, None, now, &mut |_: Step| {}).unwrap(), node }
    }

    fn sign(&self, method: &str) -> Vec<u8> {
        let path = format!("peergos/v0/login/{method}");
        signed_request::sign(&self.account.identity, &path, i64::try_from(unix_seconds() * 1000).unwrap())
    }

    fn name(&self) -> &str {
        &self.account.username
    }

    /// Gives the account an authenticator app.
    fn add_app(&self) -> Totp {
        let app = self.node.add_totp(self.name(), &self.sign("addTotp")).unwrap();
        let (code, auth) = (app.code(unix_seconds()), self.sign("enableTotp"));
        self.node.enable_totp(self.name(), &app.credential_id, &code, &auth).unwrap();
        app
    }

    fn add_backup_codes(&self) -> Vec<String> {
        let codes = self.node.generate_backup_codes(self.name(), &self.sign("genBackupCodes")).unwrap();
        codes.codes.iter().map(|code| code.to_string()).collect()
    }

    /// The names of the account's mount factors.
    fn mount_factors(&self) -> Vec<String> {
        let factors = self.node.list_factors(self.name(), &self.sign("listMfa")).unwrap();
        factors.into_iter().filter(|factor| factor.kind == FactorKind::Mount).map(|factor| factor.name).collect()
    }
}

/// A drive at a server with a file in it, not mounted.
fn drive(server: &Server) -> Drive {
    let mut drive = server.drive(&Account::carol());
    drive.mount();
    fs::write(drive.path("x"), "kept").unwrap();
    drive.unmount();
    drive
}

#[test]
fn invitations() {
    let server = Server::with(&[]);
    let token = || run_ok(&mut server.order(&["token"])).trim().to_owned();
    let person = |name: &str, invitation: &str| {
        let account = Account { username: name.to_owned(), ..Account::carol() };
        server.drive(&account).with_args(&[&format!("--sign-up{invitation}")])
    };
    let refused = |name: &str, invitation: &str, why: &str| {
        let ran = expect_failure(&mut person(name, invitation).command(), &[why]);
        assert_eq!(ran.code, SERVER, "{}", ran.err);
    };
    refused("ada", "", "not currently accepting new sign ups");
    refused("ada", &format!("={}", "0".repeat(64)), "token");
    let first = format!("={}", token());
    let mut ada = person("ada", &first);
    ada.mount();
    fs::write(ada.path("x"), "x").unwrap();
    ada.unmount();
    server.check(&ada.account);
    refused("bob", &first, "token");
    let mut bob = person("bob", &format!("={}", token()));
    bob.mount();
    bob.unmount();
    // who is there needs no token to come back
    let mut again = person("bob", "");
    again.mount();
    again.unmount();
    let accounts = run_ok(&mut server.order(&["accounts"]));
    let names: Vec<_> = accounts.lines().skip(1).map(|row| row.split('\t').next().unwrap()).collect();
    assert_eq!(names, ["ada", "bob"]);
    server.stop();
}

#[test]
fn second_factors() {
    let server = Server::start();
    let drive = drive(&server);
    let owner = Owner::log_in(&server, &drive.account);
    let (app, backup) = (owner.add_app(), owner.add_backup_codes());

    let ran = expect_failure(&mut drive.command(), &["second factor"]);
    assert_eq!(ran.code, LOGIN, "{}", ran.err);
    let password = format!("Password={}", drive.account.password);
    let log_in = |codes: &[&str]| {
        let codes: Vec<_> = codes.iter().map(|code| format!("Code: ={code}")).collect();
        let answers: Vec<_> = std::iter::once(&password).chain(&codes).map(String::as_str).collect();
        let mut login = terminal(&answers);
        login.arg("login");
        run(&mut drive.with_account(login))
    };
    let wrong = if app.code(unix_seconds()) == "123456" { "654321" } else { "123456" };
    let ran = log_in(&[wrong, wrong, &app.code(unix_seconds())]);
    assert!(ran.code == Some(0) && ran.out.contains("not right") && ran.out.contains("is right"), "{}", ran.out);
    let ran = log_in(&[wrong, wrong, wrong]);
    assert!(ran.code == LOGIN && ran.out.contains("second factor"), "{:?} {}", ran.code, ran.out);
    assert_eq!(log_in(&[&backup[0]]).code, Some(0));
    // each is good for one login
    assert_eq!(log_in(&[&backup[0], &backup[0], &backup[0]]).code, LOGIN);

    // and a mount, from a terminal into the background
    let mut mount = terminal(&[&password, &format!("Code: ={}", backup[1])]);
    mount.arg("--daemon").arg(drive.root());
    run_ok(&mut drive.with_account(mount));
    assert_eq!(fs::read(drive.path("x")).unwrap(), b"kept");
    run_ok(program().arg("umount").arg(drive.root()));
    server.stop();
}

#[test]
fn a_keyring_keeps_a_login() {
    let (server, keyring) = (Server::start(), Keyring::start());
    let drive = drive(&server);
    let owner = Owner::log_in(&server, &drive.account);
    let app = owner.add_app();
    let login = |subcommand: &str| {
        let mut command = drive.order(subcommand);
        command.env("PEERGOS_MFA_CODE", app.code(unix_seconds()));
        command
    };
    let mount = || {
        let mut command = drive.with_account(program());
        keyring.serve(command.arg("--daemon").arg(drive.root()));
        command
    };
    let umount = || run_ok(program().arg("umount").arg(drive.root()));

    // where there is no keyring, nothing is kept and no factor is made
    let ran = expect_failure(login("login").arg("--remember"), &["keyring"]);
    assert_eq!(ran.code, KEYRING, "{}", ran.err);
    assert!(owner.mount_factors().is_empty());

    run_ok(keyring.serve(login("login").arg("--remember")));
    let factors = owner.mount_factors();
    assert!(factors.len() == 1 && factors[0].starts_with("Drive mount"), "{factors:?}");
    // again: this device has one factor, not two
    run_ok(keyring.serve(login("login").arg("--remember")));
    assert_eq!(owner.mount_factors().len(), 1);
    run_ok(&mut mount());
    assert_eq!(fs::read(drive.path("x")).unwrap(), b"kept");
    umount();
    // other devices still have to know a code
    assert_eq!(expect_failure(&mut drive.command(), &["second factor"]).code, LOGIN);

    // another password is the same login
    run_ok(keyring.serve(login("passwd").env("PEERGOS_NEW_PASSWORD", "a new one")));
    run_ok(&mut mount());
    umount();

    run_ok(keyring.serve(drive.order("logout").env_remove("PEERGOS_PASSWORD")));
    assert!(owner.mount_factors().is_empty());
    let ran = expect_failure(&mut mount(), &["password"]);
    assert_eq!(ran.code, LOGIN, "{}", ran.err);
    server.stop();
}

#[test]
fn the_end_of_an_account() {
    let server = Server::start();
    let drive = drive(&server);
    let mut delete =
        terminal(&[&format!("To go on={}", drive.account.username), &format!("Password={}", drive.account.password)]);
    delete.arg("delete-account");
    run_ok(&mut drive.with_account(delete));
    // for those who knew it, and for others
    for drive in [drive, server.drive(&Account::carol())] {
        let ran = expect_failure(&mut drive.order("login"), &["deleted"]);
        assert_eq!(ran.code, LOGIN, "{}", ran.err);
    }
    server.stop();
}

#[test]
fn where_many_sign_up_it_takes_work() {
    // as many as a node lets in for nothing
    const FREE: usize = 20;
    let server = Server::start();
    let node = RemoteNode::new(&RemoteOptions::new(server.url())).unwrap();
    for n in 0..=FREE {
        account::sign_up(&node, &format!("person{n}"), "a password", "", SystemTime::now(), &mut |_: Step| {}).unwrap();
    }
    let way = way(server.address(), |_, _, truth| Answer::Raw(truth()));
    let mut drive = Drive::at(&way.url(), &Account::carol());
    drive.mount();
    let sent = way.asked().iter().filter(|asked| asked.path.ends_with("core/signup")).count();
    assert_eq!(sent, 2, "with and without proof of work");
    fs::write(drive.path("x"), "x").unwrap();
    drive.unmount();
    server.check(&Account::carol());
    server.stop();
}

//! `peergos-mount check`: what a person sees of it, on the embedded node and on a server.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::Command;

use crate::harness::{Account, Drive, Golden, Ran, Server, expect_failure, filled, program, run, shell};

const STATE: Option<i32> = Some(4);
const FINDINGS: Option<i32> = Some(9);

/// The command that checks the account of a drive on the embedded node.
fn check(drive: &Drive) -> Command {
    let mut command = program();
    command.arg("check").arg("--state").arg(drive.state());
    log_in(&mut command, &drive.account);
    command
}

fn log_in(command: &mut Command, account: &Account) {
    command.env("PEERGOS_USERNAME", &account.username).env("PEERGOS_PASSWORD", &account.password);
}

fn is_clean(command: &mut Command) -> Ran {
    let ran = run(command);
    assert!(ran.code == Some(0) && ran.out.is_empty() && ran.err.contains("all is well"), "{ran:?}");
    ran
}

/// The largest file in the state folder: a fragment of a large file.
fn fragment(drive: &Drive) -> PathBuf {
    let largest =
        shell(&drive.state(), "find node/blocks -type f -printf '%s %p\\n' | sort -n | tail -1 | cut -d' ' -f2");
    drive.state().join(largest.trim())
}

#[test]
fn golden_accounts_are_clean() {
    for name in ["ada", "bob"] {
        let drive = Drive::golden(&Golden::load(name));
        let ran = is_clean(check(&drive).arg("--repair"));
        assert!(ran.err.contains("entries"), "{}", ran.err);
    }
}

#[test]
fn damage_is_listed_with_its_path_and_what_can_be_read_stays() {
    let mut drive = Drive::mounted();
    shell(&drive.root(), "mkdir 'a folder'; for i in $(seq 30); do seq $i > 'a folder'/$i; done");
    fs::write(drive.path("a folder/it's \"large\""), filled(1, 6 << 20)).unwrap();
    let in_use = expect_failure(&mut check(&drive), &["in use"]);
    assert_eq!(in_use.code, STATE, "{}", in_use.err);
    drive.unmount();
    is_clean(&mut check(&drive));

    let fragment = fragment(&drive);
    let whole = fs::read(&fragment).unwrap();
    let file = fs::File::options().write(true).open(&fragment).unwrap();
    file.write_all_at(&[whole[500_000] ^ 1], 500_000).unwrap();
    for options in [&[][..], &["--repair"]] {
        let ran = run(check(&drive).args(options));
        assert_eq!(ran.code, FINDINGS, "{ran:?}");
        let lines: Vec<_> = ran.out.lines().collect();
        assert!(
            matches!(lines[..], [line] if line.starts_with("damaged") && line.contains("/a folder/it's \"large\":")),
            "{ran:?}"
        );
        assert!(ran.err.contains("1 findings, 1 of them not mended"), "{ran:?}");
    }
    let ran = run(check(&drive).arg("--json"));
    let found: serde_json::Value = serde_json::from_str(ran.out.trim()).unwrap();
    assert_eq!(found["path"], "/a folder/it's \"large\"");
    assert_eq!((&found["kind"], &found["repaired"]), (&"damaged".into(), &false.into()));
    file.write_all_at(&whole[500_000..500_001], 500_000).unwrap();
    is_clean(&mut check(&drive));
    drive.mount();
    assert!(fs::read(drive.path("a folder/it's \"large\"")).unwrap() == filled(1, 6 << 20));
}

#[test]
fn accounts_on_a_server_are_checked_while_they_are_mounted() {
    let ada = Golden::load("ada");
    let server = Server::golden(&[&ada, &Golden::load("bob")]);
    let mut drive = server.drive(&ada.account);
    drive.mount();
    let state = drive.beside("another state");
    let check = || {
        let mut command = program();
        command.args(["check", "--repair", "--server", server.url(), "--state"]).arg(&state);
        log_in(&mut command, &ada.account);
        command
    };
    shell(&drive.root(), "for i in $(seq 30); do seq $i > new$i; done");
    fs::write(drive.path("large"), filled(1, 12 << 20)).unwrap();
    let ran = run(&mut check());
    assert!(ran.code == Some(0) || ran.err.contains("meanwhile"), "{ran:?}");
    fs::File::open(drive.path("large")).unwrap().sync_all().unwrap();
    drive.unmount();
    is_clean(&mut check());
    assert_eq!(expect_failure(check().env("PEERGOS_PASSWORD", "not it"), &["password"]).code, Some(3));
    server.check_leniently(&ada.account);
    server.stop();
}

//! From the first start to the last unmount, and the mistakes people make on the way.

use std::fs;
use std::io::Write as _;
use std::process::Command;

use rustix::process::Signal;

use crate::harness::{
    Drive, Golden, command, expect_failure, filled, is_mounted, poll, program, run, run_ok, shell, terminal,
};

/// Exit codes, as `--help` documents them.
const USAGE: Option<i32> = Some(2);
const LOGIN: Option<i32> = Some(3);
const STATE: Option<i32> = Some(4);
const MOUNT: Option<i32> = Some(5);

#[test]
fn first_command_makes_a_drive_that_keeps_what_is_put_in() {
    let mut drive = Drive::new();
    drive.mount();
    assert_eq!(fs::read_dir(drive.root()).unwrap().count(), 0, "a new home is empty");
    shell(&drive.root(), "echo hi > x");
    drive.remount();
    assert_eq!(shell(&drive.root(), "cat x"), "hi\n");
    let listing = drive.check();
    assert!(listing.0.iter().any(|e| e.path == "/carol/x" && e.size == 3));
}

#[test]
fn asks_for_name_and_password_on_a_terminal() {
    let mut drive = Drive::new();
    let mut mount = terminal(&["user name=carol", "New password=secret words", "again=secret words"]);
    mount.arg("--daemon").arg("--state").arg(drive.state()).arg(drive.root());
    let shown = run_ok(&mut mount);
    assert!(!shown.contains("secret words"), "the password appears on the terminal:\n{shown}");
    fs::write(drive.path("x"), "typed").unwrap();
    run_ok(program().arg("umount").arg(drive.root()));

    drive.account.password = "secret words".into();
    drive.mount();
    assert_eq!(fs::read(drive.path("x")).unwrap(), b"typed");
}

#[test]
fn without_terminal_and_password_says_how_to_give_one() {
    let mut drive = Drive::new();
    let ran = expect_failure(drive.command().env_remove("PEERGOS_PASSWORD"), &["password"]);
    assert_eq!(ran.code, LOGIN, "{}", ran.err);
    assert!(ran.err.contains("PEERGOS_PASSWORD") && ran.err.contains("--password-file"), "{}", ran.err);
    let ran = expect_failure(drive.command().env_remove("PEERGOS_USERNAME"), &["user name", "username"]);
    assert_eq!(ran.code, LOGIN, "{}", ran.err);
    drive.mount();
}

#[test]
fn wrong_password_is_refused_and_harms_nothing() {
    let mut drive = Drive::mounted();
    fs::write(drive.path("x"), "kept").unwrap();
    drive.unmount();
    let ran = expect_failure(drive.command().env("PEERGOS_PASSWORD", "not it"), &["password"]);
    assert_eq!(ran.code, LOGIN, "{}", ran.err);
    drive.mount();
    assert_eq!(fs::read(drive.path("x")).unwrap(), b"kept");
}

#[test]
fn password_comes_from_a_private_file() {
    let drive = Drive::new();
    let file = drive.beside("password");
    shell(&drive.beside(""), "umask 077; printf 'a password of Carol'\"'\"'s\\nsecond line\\n' > password");
    let mut mount = drive.command();
    mount.env_remove("PEERGOS_PASSWORD").arg("--password-file").arg(&file).arg("--daemon");
    run_ok(&mut mount);
    run_ok(program().arg("umount").arg(drive.root()));
    // The same password, this time from the environment, opens what was made.
    let mut drive = drive;
    drive.mount();
}

#[test]
fn unsuitable_names_are_refused() {
    let drive = Drive::new();
    for name in ["Carol", "a b", "", "-a", "a..b", "café"] {
        let ran = expect_failure(drive.command().env("PEERGOS_USERNAME", name), &["name"]);
        assert_eq!(ran.code, LOGIN, "{name:?}: {}", ran.err);
    }
}

#[test]
fn one_state_holds_several_accounts() {
    let (ada, bob) = (Golden::load("ada"), Golden::load("bob"));
    let mut drive = Drive::golden(&ada);
    drive.import(&bob.export());
    let ran = expect_failure(drive.command().env_remove("PEERGOS_USERNAME"), &["--username"]);
    assert!(ran.err.contains("ada") && ran.err.contains("bob"), "{}", ran.err);

    drive.mount();
    assert_eq!(fs::read_to_string(drive.path("hello.txt")).unwrap().len(), 14);
    drive.unmount();
    drive.account = bob.account.clone();
    drive.mount();
    assert_eq!(fs::read(drive.path("private.txt")).unwrap().len(), 9);
}

#[test]
fn importing_what_is_there_already_is_refused() {
    let bob = Golden::load("bob");
    let mut drive = Drive::golden(&bob);
    drive.mount();
    fs::write(drive.path("since"), "newer than the backup").unwrap();
    drive.unmount();
    expect_failure(&mut drive.import_command(&bob.export()), &["bob", "exist", "already"]);
    drive.mount();
    assert_eq!(fs::read(drive.path("since")).unwrap(), b"newer than the backup");
}

#[test]
fn a_state_is_used_by_one_process_at_a_time() {
    let mut drive = Drive::mounted();
    let second = drive.beside("second");
    let mut mount = drive.command();
    let ran = expect_failure(mount.arg("--foreground").arg(&second), &["in use", "mounted"]);
    assert!(matches!(ran.code, STATE | MOUNT), "{}", ran.err);
    assert!(!is_mounted(&second));
    let mut export = program();
    export
        .args(["export", "carol"])
        .arg(drive.beside("a.car"))
        .arg(drive.beside("a.json"))
        .arg("--state")
        .arg(drive.state());
    assert_eq!(expect_failure(&mut export, &["in use"]).code, STATE);
    fs::write(drive.path("x"), "undisturbed").unwrap();
    drive.remount();
    assert_eq!(fs::read(drive.path("x")).unwrap(), b"undisturbed");
}

#[test]
fn mountpoints_that_cannot_be_are_refused() {
    let drive = Drive::new();
    let file = drive.beside("file");
    fs::write(&file, "").unwrap();
    let mut mount = program();
    mount.arg("--state").arg(drive.state()).arg(&file);
    mount.env("PEERGOS_USERNAME", "carol").env("PEERGOS_PASSWORD", "x y z");
    expect_failure(&mut mount, &["not a directory", "mountpoint"]);
    assert_eq!(expect_failure(program().arg("umount").arg(drive.root()), &["not mounted", "no drive"]).code, MOUNT);
    assert_eq!(expect_failure(program().arg("--no-such-option"), &["--no-such-option"]).code, USAGE);
    assert_eq!(expect_failure(program().args(["--cache-size", "much", "/m"]), &["cache-size"]).code, USAGE);
    assert_eq!(run(&mut program()).code, USAGE);
}

#[test]
fn help_names_every_option_and_exit_code() {
    let help = run_ok(program().arg("--help"));
    for word in [
        "umount",
        "export",
        "import",
        "--state",
        "--username",
        "--password-file",
        "--foreground",
        "--daemon",
        "--read-only",
        "--allow-other",
        "--show-hidden",
        "--cache-size",
        "--commit-interval",
        "PEERGOS_PASSWORD",
        "Exit codes",
    ] {
        assert!(help.contains(word), "--help does not mention {word}:\n{help}");
    }
    assert!(run_ok(program().arg("--version")).starts_with("peergos-mount "));
}

#[test]
fn daemon_returns_once_mounted() {
    let mut drive = Drive::new();
    run_ok(drive.command().arg("--daemon"));
    assert!(is_mounted(&drive.root()));
    fs::write(drive.path("x"), "by a daemon").unwrap();
    run_ok(program().arg("umount").arg(drive.root()));
    assert!(!is_mounted(&drive.root()));
    drive.mount();
    assert_eq!(fs::read(drive.path("x")).unwrap(), b"by a daemon");
    drive.unmount();
    let ran = expect_failure(drive.command().env("PEERGOS_PASSWORD", "not it").arg("--daemon"), &["password"]);
    assert_eq!(ran.code, LOGIN, "a daemon's failure reaches the one who started it: {}", ran.err);
}

#[test]
fn signals_unmount_and_save_everything() {
    let mut drive = Drive::mounted();
    for (i, signal) in [Signal::TERM, Signal::INT].into_iter().enumerate() {
        let i = i as u64;
        let name = format!("big{i}");
        fs::write(drive.path(&name), filled(i, 12_000_000)).unwrap();
        shell(&drive.root(), &format!("mkdir d{i}; for n in $(seq 100); do echo $n > d{i}/$n; done"));
        let status = drive.take_daemon().signal(signal);
        assert!(status.success(), "{signal:?}: {status}");
        drive.mount();
        assert!(fs::read(drive.path(&name)).unwrap() == filled(i, 12_000_000), "{signal:?} lost content");
        assert_eq!(shell(&drive.root(), &format!("cat d{i}/* | wc -l")), "100\n");
    }
}

#[test]
fn fusermount_unmounts_too() {
    let mut drive = Drive::mounted();
    fs::write(drive.path("x"), filled(1, 6_000_000)).unwrap();
    let root = drive.root();
    let daemon = drive.take_daemon();
    run_ok(command("fusermount3").arg("-u").arg(&root));
    assert!(daemon.ended().success());
    drive.mount();
    assert!(fs::read(drive.path("x")).unwrap() == filled(1, 6_000_000));
}

#[test]
fn busy_drive_is_not_torn_away() {
    let drive = Drive::mounted();
    let mut open = fs::File::create(drive.path("open")).unwrap();
    let ran = expect_failure(program().arg("umount").arg(drive.root()), &["busy", "in use"]);
    assert_eq!(ran.code, MOUNT);
    open.write_all(b"still here").unwrap();
    drop(open);
    assert_eq!(fs::read(drive.path("open")).unwrap(), b"still here");
    let mut drive = drive;
    drive.unmount();
}

#[test]
fn a_dead_mount_does_not_stop_the_next_one() {
    let mut drive = Drive::mounted();
    fs::write(drive.path("x"), "saved").unwrap();
    fs::File::open(drive.path("x")).unwrap().sync_all().unwrap();
    drive.daemon().kill_leaving_the_mount();
    let dead = || {
        fs::metadata(drive.root()).is_err_and(|e| e.raw_os_error() == Some(rustix::io::Errno::NOTCONN.raw_os_error()))
    };
    assert!(poll(dead), "the kernel notices");
    let mut mount: Command = drive.command();
    run_ok(mount.arg("--daemon"));
    assert_eq!(fs::read(drive.path("x")).unwrap(), b"saved");
    run_ok(program().arg("umount").arg(drive.root()));
    drop(drive.take_daemon());
}

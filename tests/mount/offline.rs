//! A mount whose server goes out of reach: what is on this machine goes on being there.

mod gateway;
mod writes;

use std::fs::{self, File};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{
    Account, Drive, Line, Server, expect_failure, filled, poll, program, run, run_ok, shell, write_synced,
};

/// Longer than anything may take that is answered from this machine, also where much else goes on.
const SOON: Duration = Duration::from_secs(5);

/// What a mount says of itself.
pub fn status(drive: &Drive) -> Value {
    serde_json::from_slice(&fs::read(drive.path(".peergos/status")).unwrap()).unwrap()
}

fn wait_until(drive: &Drive, node: &str) {
    assert!(poll(|| status(drive)["node"] == node), "the mount is never {node}: {}", status(drive));
}

/// Has a mount find out that the server is out of reach.
fn notice(drive: &Drive) {
    // what nobody has read yet
    let _ = fs::read(drive.path("never read"));
    wait_until(drive, "offline");
}

#[test]
fn what_was_read_can_be_read_without_the_server() {
    let line = Line::new();
    let server = Server::start_at(&line);
    let mut drive = server.drive_over(&line, &Account::carol());
    drive.mount();
    shell(&drive.root(), "mkdir -p a/b; echo text > a/b/small; echo more > 'never read'");
    fs::write(drive.path("large"), filled(1, 3 << 20)).unwrap();
    drive.remount();
    assert_eq!(fs::read_to_string(drive.path("a/b/small")).unwrap(), "text\n");
    assert_eq!(fs::read(drive.path("large")).unwrap(), filled(1, 3 << 20));
    assert_eq!(status(&drive)["node"], "online");
    let human = run_ok(program().arg("status").arg(drive.root()));
    assert!(human.contains("carol") && human.contains("connected"), "{human}");

    line.cut();
    notice(&drive);
    let said = status(&drive);
    assert!(said["connected"] == false && said["reason"].is_string() && said["quota_bytes"].is_u64(), "{said}");
    let human = run_ok(program().arg("status").arg(drive.root()));
    assert!(human.contains("OFFLINE"), "{human}");
    shell(&drive.root(), "echo 3 > /proc/sys/vm/drop_caches");
    let began = Instant::now();
    assert_eq!(fs::read_to_string(drive.path("a/b/small")).unwrap(), "text\n");
    assert_eq!(fs::read(drive.path("large")).unwrap(), filled(1, 3 << 20));
    let names: Vec<_> = fs::read_dir(drive.root()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(began.elapsed() < SOON, "what is here took {:?}", began.elapsed());

    line.mend();
    wait_until(&drive, "online");
    assert_eq!(fs::read_to_string(drive.path("never read")).unwrap(), "more\n");
    fs::write(drive.path("new"), "new").unwrap();
    File::open(drive.path("new")).unwrap().sync_all().unwrap();
    drive.unmount();
    server.stop();
}

#[test]
fn a_mount_comes_up_without_its_server() {
    let line = Line::new();
    let server = Server::start_at(&line);
    let mut drive = server.drive_over(&line, &Account::carol());
    drive.mount();
    shell(&drive.root(), "mkdir -p a/b; echo text > a/b/small");
    drive.remount();
    assert_eq!(fs::read_to_string(drive.path("a/b/small")).unwrap(), "text\n");
    drive.unmount();

    line.cut();
    let typed = std::mem::replace(&mut drive.account.password, "another password".into());
    let refused = drive.try_mount().unwrap_err();
    assert!(refused.contains("wrong password"), "{refused}");
    drive.account.password = typed;
    drive.mount();
    assert_eq!(status(&drive)["node"], "offline");
    assert_eq!(fs::read_to_string(drive.path("a/b/small")).unwrap(), "text\n");
    assert!(!drive.path("a/none").exists());
    shell(&drive.root(), "df . > /dev/null");

    line.mend();
    wait_until(&drive, "online");
    fs::write(drive.path("a/new"), "new").unwrap();
    File::open(drive.path("a/new")).unwrap().sync_all().unwrap();
    let mut other = server.drive(&Account::carol());
    other.mount();
    assert_eq!(fs::read_to_string(other.path("a/new")).unwrap(), "new");
    other.unmount();
    drive.unmount();
    // what opens the account is nowhere to be read
    let kept = drive.state().join("accounts");
    let kept: Vec<_> = fs::read_dir(&kept).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    assert!(kept.len() == 1 && kept[0].len() > 1000 && !kept[0].windows(5).any(|part| part == b"carol"));
    server.stop();
}

#[test]
fn what_is_pinned_is_kept_up_to_date_and_there_without_the_server() {
    let line = Line::new();
    let server = Server::start_at(&line);
    let mut other = server.drive(&Account::carol());
    other.mount();
    shell(
        &other.root(),
        "mkdir -p kept/deep; echo one > kept/deep/small; echo x > never\\ read; sync kept/deep/small .",
    );
    write_synced(&other.path("kept/large"), filled(1, 7 << 20));
    // room for nothing but what is pinned
    let options = ["--insecure-http", "--poll-interval", "500ms", "--disk-cache", "1M"];
    let mut drive = server.drive_over(&line, &Account::carol()).with_args(&options);
    drive.mount();
    let complete = |drive: &Drive| assert!(poll(|| status(drive)["pinned_complete"] == true), "{}", status(drive));
    let pin = |drive: &Drive, args: &[&str]| run_ok(program().arg("pin").args(args).arg(drive.path("kept")));
    pin(&drive, &[]);
    assert_eq!(pin(&drive, &["--list"]), "/kept\n");
    complete(&drive);
    write_synced(&other.path("kept/deep/small"), "changed");
    write_synced(&other.path("kept/seen"), "");
    assert!(poll(|| drive.path("kept/seen").exists()), "what the other did is never seen");
    complete(&drive);
    // many blocks come and go
    write_synced(&other.path("passing"), filled(2, 20 << 20));
    assert!(poll(|| fs::read(drive.path("passing")).is_ok_and(|read| read == filled(2, 20 << 20))));
    complete(&drive);
    drive.unmount();
    other.unmount();

    line.cut();
    drive.mount();
    assert_eq!((&status(&drive)["node"], &status(&drive)["pinned"]), (&"offline".into(), &1.into()));
    assert_eq!(fs::read_to_string(drive.path("kept/deep/small")).unwrap(), "changed");
    assert_eq!(fs::read(drive.path("kept/large")).unwrap(), filled(1, 7 << 20));
    assert!(fs::read(drive.path("passing")).is_err(), "(there is no room for it)");
    pin(&drive, &["--remove"]);
    assert_eq!(pin(&drive, &["--list"]), "");
    shell(&drive.root(), "echo +/kept > .peergos/pins");
    assert_eq!(pin(&drive, &["--list"]), "/kept\n");
    shell(&drive.root(), "echo -/kept > .peergos/pins");
    expect_failure(program().args(["pin", "--remove"]).arg(drive.path("kept")), &["not pinned"]);
    drive.unmount();
    // the list is nowhere to be read
    let mut lists =
        fs::read_dir(drive.state().join("pins")).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
    assert!(lists.all(|list| !list.windows(4).any(|part| part == b"kept")));
    server.stop();
}

#[test]
fn the_status_is_there_for_people_and_programs() {
    let mut drive = Drive::mounted();
    let mount = drive.root();
    shell(&mount, "test -z \"$(ls -A)\"; test \"$(ls .peergos)\" = status; ! touch .peergos/x; ! rm .peergos/status");
    fs::write(drive.path("unsaved"), "1234").unwrap();
    let said = status(&drive);
    assert_eq!(
        (&said["node"], &said["username"], &said["connected"]),
        (&"embedded".into(), &"carol".into(), &true.into())
    );
    assert!(said["dirty_bytes"].as_u64() > Some(0) && said["queue"].as_u64() > Some(0), "{said}");
    File::open(drive.path("unsaved")).unwrap().sync_all().unwrap();
    let said = status(&drive);
    assert!(said["queue"] == 0 && said["last_commit"].is_u64() && said["used_bytes"].as_u64() > Some(0), "{said}");

    // other mounts of this machine may be dead
    let lines = run(program().args(["status", "--json"])).out;
    let all: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(all.iter().any(|said| said["mountpoint"] == mount.to_str().unwrap()), "{lines}");
    assert!(run_ok(program().arg("status").arg(&mount)).contains("nothing"));
    drive.unmount();
    expect_failure(program().arg("status").arg(&mount), &["no drive"]);
}

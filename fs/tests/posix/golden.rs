//! Accounts of the reference client: entries that move between writing spaces, and what must get new keys first.

use std::{fs, path::Path, process::Command};

use crate::{
    damaged::block,
    drive::{Drive, Stop, Watchdog},
    faulty::{Call, Damage, Fault},
    model::{CHUNK, assert_same, write},
    scenarios::{errno, pattern},
};

const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests");
const PASSWORD: &str = "ada-pass-1815";
const MIB: usize = 1 << 20;

/// The drive of ada as the reference left it. `team` is a writing space of its own; the files in `revoked` have keys that
/// others may still know.
pub fn ada() -> Drive {
    Drive::imported(&format!("{TESTS}/golden/ada"), "ada", PASSWORD)
}

/// Demands that the independent checker finds nothing wrong with the account as it is stored.
pub fn check(drive: &Drive) {
    drive.fs().sync().unwrap();
    let friend = |extension: &str| format!("{TESTS}/golden/bob.{extension}");
    let (is_clean, said) = verdict(drive, PASSWORD, &["--strict", "--also", &friend("car"), &friend("json")]);
    assert!(is_clean, "{said}");
}

/// What the independent checker says about the account of ada as it is stored, and whether it finds no errors.
pub fn verdict(drive: &Drive, password: &str, options: &[&str]) -> (bool, String) {
    let dir = tempfile::tempdir().unwrap();
    let (car, json) = (dir.path().join("ada.car"), dir.path().join("ada.json"));
    drive.node().export("ada", fs::File::create(&car).unwrap(), fs::File::create(&json).unwrap()).unwrap();
    // set by the test command
    let mut checker = Command::new(std::env::var_os("PEERGOS_TEST_PYTHON").unwrap_or_else(|| "python3".into()));
    checker.arg(Path::new(TESTS).join("tools/peergos_check.py")).arg("car").args([&car, &json]);
    let ran = checker.args(["ada", password, "-v"]).args(options).output().expect("python3 with pynacl is installed");
    let said = String::from_utf8_lossy(&ran.stdout);
    let is_clean = ran.status.success() && said.lines().last().is_some_and(|verdict| verdict.contains(" 0 errors"));
    (is_clean, format!("{said}\n{}", String::from_utf8_lossy(&ran.stderr)))
}

#[test]
fn files_move_between_writing_spaces() {
    let _alive = Watchdog::new("writing spaces");
    let mut drive = ada();
    let large = pattern(11 * MIB, 1);
    drive.write("large", 0, &large).unwrap();
    let small = drive.read("hello.txt").unwrap();
    let plan = drive.read("team/plan.md").unwrap();
    drive.rename("hello.txt", "team/hello.txt").unwrap();
    // not committed yet
    drive.rename("large", "team/large").unwrap();
    drive.rename("team/plan.md", "plan.md").unwrap();
    drive.write("fresh", 0, b"fresh").unwrap();
    drive.rename("fresh", "team/fresh").unwrap();
    // there and back, and over another file
    drive.rename("team/fresh", "back").unwrap();
    drive.rename("back", "team/large2").unwrap();
    drive.rename("team/large", "back").unwrap();
    drive.rename("back", "team/large2").unwrap();
    let compare = |drive: &Drive| {
        assert_same(&drive.read("team/large2").unwrap(), &large, "large");
        assert_same(&drive.read("team/hello.txt").unwrap(), &small, "hello");
        assert_same(&drive.read("plan.md").unwrap(), &plan, "plan");
        for gone in ["hello.txt", "large", "team/plan.md", "fresh", "team/fresh", "back", "team/large"] {
            assert!(drive.stat(gone).is_err(), "{gone}");
        }
    };
    compare(&drive);
    drive.remount();
    compare(&drive);
    check(&drive);
    // what has moved is written to as before
    let mut changed = large;
    for path in ["team/large2", "plan.md"] {
        drive.write(path, 3, b"changed").unwrap();
    }
    write(&mut changed, 3, b"changed");
    drive.truncate("team/large2", CHUNK + 1).unwrap();
    changed.truncate(CHUNK as usize + 1);
    drive.remount();
    assert_same(&drive.read("team/large2").unwrap(), &changed, "large");
    check(&drive);
}

#[test]
fn what_others_have_keys_to_gets_new_ones_when_it_is_written() {
    let _alive = Watchdog::new("dirty keys");
    let mut drive = ada();
    let mut contents = Vec::new();
    for path in drive.names("revoked").unwrap() {
        let path = format!("revoked/{path}");
        let mut content = drive.read(&path).unwrap();
        let end = content.len();
        drive.write(&path, end as u64, b"appended").unwrap();
        drive.write(&path, 1, b"!").unwrap();
        write(&mut content, end, b"appended");
        write(&mut content, 1, b"!");
        contents.push((path, content));
    }
    assert!(contents.len() >= 2 && contents.iter().any(|(_, content)| content.len() > MIB));
    let compare = |drive: &Drive| {
        for (path, content) in &contents {
            assert_same(&drive.read(path).unwrap(), content, path);
        }
    };
    compare(&drive);
    drive.remount();
    compare(&drive);
    check(&drive);
}

#[test]
fn what_fails_while_a_file_gets_new_keys_is_done_later() {
    let _alive = Watchdog::new("dirty keys");
    let mut drive = ada();
    for (call, skip) in [(Call::SetPointers, 0), (Call::PutBlocks, 0), (Call::PutBlocks, 2)] {
        let mut content = drive.read("revoked/big.bin").unwrap();
        drive.faults.fail(call, skip, 3, Fault::Io);
        let end = content.len() as u64;
        while let Err(error) = drive.write("revoked/big.bin", end, b"more") {
            assert_eq!(error.errno(), libc::EIO);
        }
        content.extend(b"more");
        while let Err(error) = drive.rename("revoked/big.bin", "team/big.bin") {
            assert_eq!(error.errno(), libc::EIO);
        }
        assert_same(&drive.read("team/big.bin").unwrap(), &content, "moved");
        drive.faults.heal();
        drive.fs().sync().or_else(|_| drive.fs().sync()).unwrap();
        assert_eq!(drive.fs().dirty_bytes(), 0);
        drive.remount();
        assert_same(&drive.read("team/big.bin").unwrap(), &content, "remounted");
        drive.rename("team/big.bin", "revoked/big.bin").unwrap();
    }
    check(&drive);
}

#[test]
fn a_file_that_is_written_all_the_time_can_move() {
    let _alive = Watchdog::new("moving while written");
    let mut drive = ada();
    drive.write("log", 0, b"").unwrap();
    let log = drive.open("log").unwrap();
    let stop = Stop::default();
    let written = std::thread::scope(|scope| {
        let (drive, stop) = (&drive, &stop);
        let stops = stop.when_dropped();
        let writer = scope.spawn(move || {
            let mut end = 0;
            while !stop.is_set() {
                drive.write_to(log, end, b"line\n").unwrap();
                end += 5;
            }
            end
        });
        while drive.stat("log").unwrap().size == 0 {
            std::thread::yield_now();
        }
        drive.rename("log", "team/log").unwrap();
        drop(stops);
        writer.join().unwrap()
    });
    drive.fs().release(log);
    drive.remount();
    let content = drive.read("team/log").unwrap();
    assert_eq!(content.len() as u64, written);
    assert!(content.chunks(5).all(|line| line == b"line\n"));
}

#[test]
fn a_folder_that_cannot_move_stays_as_it_is() {
    let _alive = Watchdog::new("folders that cannot move");
    let mut drive = ada();
    drive.mkdir("mixed").unwrap();
    let names = ["a", "b", "c", "d", "e", "f"];
    for (seed, name) in (0..).zip(names) {
        drive.write(&format!("mixed/{name}"), 0, &pattern(6 * MIB, seed)).unwrap();
    }
    drive.fs().sync().unwrap();
    drive.faults.damage(block(&drive, "mixed/c", 1), Damage::Hidden);
    drive.remount();
    assert_eq!(errno(drive.rename("mixed", "team/mixed")), libc::EIO);
    assert_eq!(errno(drive.stat("team/mixed")), libc::ENOENT);
    drive.remount();
    drive.faults.heal();
    for (seed, name) in (0..).zip(names) {
        let (path, mut content) = (format!("mixed/{name}"), pattern(6 * MIB, seed));
        assert_same(&drive.read(&path).unwrap(), &content, &path);
        drive.write(&path, 5, b"written to").unwrap();
        write(&mut content, 5, b"written to");
        drive.fsync(&path).unwrap();
        assert_same(&drive.read(&path).unwrap(), &content, &path);
    }
    check(&drive);
    drive.rename("mixed", "team/mixed").unwrap();
    drive.remount();
    assert_eq!(drive.names("team/mixed").unwrap(), names);
    check(&drive);
}

//! A store that is not as it was left: what is damaged fails with a clear error, everything else is still there.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::harness::{Aspects, Drive, Golden, Tree, command, expect_failure, filled, shell};

/// The exit code for a state directory that cannot be used.
const STATE: Option<i32> = Some(4);

const LARGE: usize = 11 << 20;

/// A way to damage a file, and its name.
type Damage = (&'static str, fn(&Path));

const DAMAGES: [Damage; 4] = [
    ("a changed byte", |path| {
        let file = File::options().read(true).write(true).open(path).unwrap();
        let (at, mut byte) = (file.metadata().unwrap().len() / 2, [0]);
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }),
    ("half of it lost", |path| {
        let file = File::options().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    }),
    ("emptied", |path| drop(File::create(path).unwrap())),
    ("removed", |path| fs::remove_file(path).unwrap()),
];

/// All files in the state folder.
fn files(drive: &Drive) -> BTreeSet<PathBuf> {
    shell(&drive.state(), "find . -type f").lines().map(|l| drive.state().join(l)).collect()
}

/// Reads a file that is damaged: what can be read is right, what cannot is an I/O error. Says whether all could be read.
fn reads_right_or_not_at_all(path: &Path, expected: &[u8]) -> bool {
    let eio = |e: &std::io::Error| e.raw_os_error() == Some(Errno::IO.raw_os_error());
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) => {
            assert!(eio(&e), "{}: {e}", path.display());
            return false;
        }
    };
    let mut whole = true;
    for (i, piece) in expected.chunks(50_000).enumerate() {
        let mut got = vec![0; piece.len()];
        match file.read_exact_at(&mut got, i as u64 * 50_000) {
            Ok(()) => assert!(got == piece, "{} reads wrong at {}", path.display(), i * 50_000),
            Err(e) => {
                assert!(eio(&e), "{}: {e}", path.display());
                whole = false;
            }
        }
    }
    whole
}

#[test]
fn damaged_content_is_an_error_in_its_file_only() {
    let mut drive = Drive::mounted();
    shell(&drive.root(), "mkdir others; for i in $(seq 40); do head -c ${i}000 /dev/urandom > others/$i; done");
    fs::write(drive.path("others/large"), filled(1, LARGE)).unwrap();
    for (how, damage) in DAMAGES {
        let others = Tree::read(&drive.path("others"));
        drive.unmount();
        let before = files(&drive);
        drive.mount();
        fs::write(drive.path("victim"), filled(2, LARGE)).unwrap();
        drive.unmount();
        let grown: Vec<_> = files(&drive).difference(&before).cloned().collect();
        let fragment =
            grown.iter().find(|p| fs::metadata(p).unwrap().len() > 200_000).expect("a fragment has its own file");
        damage(fragment);

        drive.mount();
        assert!(!reads_right_or_not_at_all(&drive.path("victim"), &filled(2, LARGE)), "{how} went unnoticed");
        Tree::read(&drive.path("others")).assert_equals(&others, Aspects::All, how);
        // Nothing but the content is lost: the file can be looked at, written to elsewhere, replaced and removed.
        assert_eq!(fs::metadata(drive.path("victim")).unwrap().len(), LARGE as u64);
        fs::write(drive.path("others/new"), how).unwrap();
        fs::write(drive.path("victim"), filled(3, LARGE)).unwrap();
        drive.remount();
        assert!(reads_right_or_not_at_all(&drive.path("victim"), &filled(3, LARGE)), "{how}: replaced");
        fs::remove_file(drive.path("victim")).unwrap();
    }
    drive.check();
}

#[test]
fn damage_anywhere_is_noticed_and_spreads_no_further() {
    let mut drive = Drive::mounted();
    shell(&drive.root(), "for d in a b c; do mkdir $d; for i in $(seq 30); do seq $((i * 150)) > $d/$i; done; done");
    fs::write(drive.path("large"), filled(1, LARGE)).unwrap();
    let before = drive.tree();
    drive.unmount();
    shell(&drive.beside(""), "cp -a state pristine");
    let mut refused = 0;
    for file in files(&drive) {
        // Pieces of a store: at most eight files of a kind are tried.
        let len = fs::metadata(&file).unwrap().len();
        if len == 0 {
            continue;
        }
        for at in [0, len / 3, len / 2, len - 1] {
            shell(&drive.beside(""), "rm -rf state; cp -a pristine state");
            File::options()
                .write(true)
                .open(&file)
                .unwrap()
                .write_all_at(&filled(at, 16), at.min(len.saturating_sub(16)))
                .unwrap();
            let what = format!("{} damaged at {at}", file.display());
            match drive.try_mount() {
                Err(said) => {
                    assert!(!said.contains("panicked") && !said.contains("signal"), "{what}: {said}");
                    refused += 1;
                    continue;
                }
                Ok(()) => {
                    for (path, node) in &before.0 {
                        // Whatever can still be seen is as it was.
                        if let Ok(now) = crate::harness::Node::read(&drive.path(path)) {
                            assert_eq!(&now, node, "{what}: {}", path.display());
                        }
                    }
                }
            }
            drive.unmount();
        }
    }
    println!("{refused} times the drive could not be mounted at all");
    shell(&drive.beside(""), "rm -rf state; cp -a pristine state");
    drive.mount();
    drive.tree().assert_equals(&before, Aspects::All, "undamaged again");
}

#[test]
fn what_cannot_be_read_can_be_renamed_and_removed() {
    let mut drive = Drive::mounted();
    fs::write(drive.path("good"), "good").unwrap();
    for (make, remove) in [
        ("echo text > victim", "mv victim other; rm other"),
        ("mkdir victim; echo text > victim/x", "mkdir d; mv victim d/; rm -r d"),
    ] {
        drive.unmount();
        let pack = files(&drive).into_iter().find(|f| f.extension().is_some_and(|e| e == "pack")).unwrap();
        let len = || fs::metadata(&pack).unwrap().len();
        let before = len();
        drive.mount();
        shell(&drive.root(), make);
        drive.unmount();
        let (after, victim) = (len(), drive.path("victim"));
        shell(&drive.beside(""), "rm -rf pristine; cp -a state pristine");
        // the entry's own block is somewhere among those of its commit
        let found = (before..after).step_by(1500).any(|at| {
            shell(&drive.beside(""), "rm -rf state; cp -a pristine state");
            File::options().write(true).open(&pack).unwrap().write_all_at(b"damage", at).unwrap();
            if drive.try_mount().is_err() {
                return false;
            }
            let read = fs::read_dir(&victim).map(drop).or_else(|_| fs::read(&victim).map(drop));
            let damaged = victim.symlink_metadata().is_ok() && read.is_err();
            if !damaged {
                drive.unmount();
            }
            damaged
        });
        assert!(found, "{make}: nothing between {before} and {after} hurts it");
        let copy = drive.beside("copy");
        expect_failure(command("cp").arg("-r").arg(&victim).arg(&copy), &["input/output"]);
        shell(&drive.beside(""), "rm -rf copy");
        shell(&drive.root(), remove);
        fs::write(&victim, "new").unwrap();
        drive.remount();
        assert_eq!(fs::read(&victim).unwrap(), b"new");
        assert_eq!(shell(&drive.root(), "ls; cat good"), "good\nvictim\ngood");
        fs::remove_file(&victim).unwrap();
    }
    drive.check();
}

#[test]
fn a_store_that_lost_its_index_or_a_pack_is_refused_and_left_alone() {
    let mut drive = Drive::mounted();
    fs::write(drive.path("x"), filled(1, LARGE)).unwrap();
    let before = drive.tree();
    drive.unmount();
    let (stored, backup) = (files(&drive), drive.beside("backup"));
    let vital: Vec<_> = stored.iter().filter(|f| f.extension().is_some_and(|e| e == "redb" || e == "pack")).collect();
    assert_eq!(vital.len(), 2, "{stored:?}");
    for file in vital {
        for (how, damage) in &DAMAGES[1..] {
            fs::copy(file, &backup).unwrap();
            damage(file);
            let ran = expect_failure(&mut drive.command(), &["index.redb", ".pack"]);
            assert_eq!(ran.code, STATE, "{}, {how}: {}", file.display(), ran.err);
            // To put the file back must be enough: nothing that it knew of may have been thrown away for want of it.
            fs::copy(&backup, file).unwrap();
            drive.mount();
            drive.tree().assert_equals(&before, Aspects::All, how);
            drive.unmount();
        }
    }
}

#[test]
fn state_folders_that_cannot_be_used() {
    let mut drive = Drive::mounted();
    fs::write(drive.path("x"), "x").unwrap();
    drive.unmount();
    shell(&drive.beside(""), "chmod 755 state");
    assert_eq!(expect_failure(&mut drive.command(), &["chmod 700"]).code, STATE);
    shell(&drive.beside(""), "chmod 700 state; mv state moved; echo no folder > state");
    assert_eq!(expect_failure(&mut drive.command(), &["not a directory"]).code, STATE);
    shell(&drive.beside(""), "rm state; mv moved state");
    drive.mount();
    assert_eq!(fs::read(drive.path("x")).unwrap(), b"x");
}

#[test]
fn wrong_password_of_an_imported_account() {
    let drive = Drive::golden(&Golden::load("ada"));
    let ran = expect_failure(drive.command().env("PEERGOS_PASSWORD", "ada-pass-1816"), &["password"]);
    assert_eq!(ran.code, Some(3), "{}", ran.err);
}

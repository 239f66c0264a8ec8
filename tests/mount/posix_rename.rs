//! Renaming: what is replaced, what is refused, and what open files and unsaved data make of it.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::harness::{Aspects, Drive, Tree, filled, shell};

#[test]
fn replaces_or_refuses_like_any_file_system() {
    let mut drive = Drive::mounted();
    let shadow = drive.beside("shadow");
    fs::create_dir(&shadow).unwrap();
    let prepare =
        "mkdir -p full/sub empty empty2 other; echo 1 > file; echo 2 > file2; echo 3 > full/x; ln -s file link";
    let pairs = [
        ("file", "file2"),
        ("none", "file2"),
        ("file2", "empty"),
        ("empty", "file2"),
        ("empty", "empty2"),
        ("full", "other"),
        ("empty2", "other"),
        ("other", "other/sub/below"),
        ("other", "other"),
        ("file2", "file2"),
        ("link", "file2"),
        ("file2", "none/x"),
        ("file2", "other/x/y"),
        ("file2", "other/file2"),
        ("other/file2", "other/x"),
    ];
    for root in [drive.root(), shadow.clone()] {
        shell(&root, prepare);
    }
    for (from, to) in pairs {
        let [here, there] = [drive.root(), shadow.clone()]
            .map(|root| fs::rename(root.join(from), root.join(to)).map_err(|e| e.raw_os_error()));
        assert_eq!(here, there, "{from} -> {to}");
        drive.tree().assert_equals(&Tree::read(&shadow), Aspects::Content, &format!("after {from} -> {to}"));
    }
    drive.remount();
    drive.tree().assert_equals(&Tree::read(&shadow), Aspects::Content, "after the remount");
    drive.check();
}

#[test]
fn flags_are_obeyed_or_refused() {
    let drive = Drive::mounted();
    let (a, b) = (drive.path("a"), drive.path("b"));
    fs::write(&a, "a").unwrap();
    fs::write(&b, "b").unwrap();
    let refused = renameat_with(CWD, &a, CWD, &b, RenameFlags::NOREPLACE).unwrap_err();
    assert!([Errno::EXIST, Errno::INVAL].contains(&refused), "{refused}");
    let content = || (fs::read_to_string(&a).unwrap(), fs::read_to_string(&b).unwrap());
    assert_eq!(content(), ("a".into(), "b".into()));
    match renameat_with(CWD, &a, CWD, &b, RenameFlags::EXCHANGE) {
        Ok(()) => assert_eq!(content(), ("b".into(), "a".into())),
        Err(e) => {
            assert_eq!(e, Errno::INVAL);
            assert_eq!(content(), ("a".into(), "b".into()));
        }
    }
}

#[test]
fn replaced_file_stays_readable_while_open() {
    let mut drive = Drive::mounted();
    fs::write(drive.path("old"), filled(1, 7 << 20)).unwrap();
    let mut open = File::open(drive.path("old")).unwrap();
    fs::write(drive.path("new"), filled(2, 1000)).unwrap();
    fs::rename(drive.path("new"), drive.path("old")).unwrap();
    let mut content = Vec::new();
    open.read_to_end(&mut content).unwrap();
    assert!(content == filled(1, 7 << 20));
    drop(open);
    drive.remount();
    assert!(fs::read(drive.path("old")).unwrap() == filled(2, 1000));
    drive.check();
}

#[test]
fn writing_goes_on_under_the_new_name() {
    let mut drive = Drive::mounted();
    fs::create_dir_all(drive.path("a/b")).unwrap();
    let mut open = File::create(drive.path("a/b/x")).unwrap();
    let content = filled(1, 11 << 20);
    open.write_all(&content[..6 << 20]).unwrap();
    fs::rename(drive.path("a/b/x"), drive.path("a/y")).unwrap();
    open.write_all(&content[6 << 20..8 << 20]).unwrap();
    fs::rename(drive.path("a"), drive.path("c")).unwrap();
    open.sync_all().unwrap();
    open.write_all(&content[8 << 20..]).unwrap();
    drop(open);
    assert!(fs::read(drive.path("c/y")).unwrap() == content);
    drive.remount();
    assert!(fs::read(drive.path("c/y")).unwrap() == content);
    assert!(!drive.path("a").exists() && !drive.path("c/b/x").exists());
    drive.check();
}

#[test]
fn moved_folder_keeps_everything_in_it() {
    let mut drive = Drive::mounted();
    shell(
        &drive.root(),
        "mkdir -p a/b/c to; for i in $(seq 50); do echo $i > a/b/c/$i; done; head -c 6M /dev/zero > a/b/big; ln -s b a/l",
    );
    shell(&drive.root(), "find a -exec touch -h -d '2001-02-03 04:05:06.789' {} +");
    let before = Tree::read(&drive.path("a/b"));
    // Once while nothing is saved yet, once from what is saved.
    fs::rename(drive.path("a/b"), drive.path("to/moved")).unwrap();
    Tree::read(&drive.path("to/moved")).assert_equals(&before, Aspects::All, "after the first move");
    drive.remount();
    fs::rename(drive.path("to/moved"), drive.path("a/back")).unwrap();
    Tree::read(&drive.path("a/back")).assert_equals(&before, Aspects::All, "after the second move");
    drive.remount();
    Tree::read(&drive.path("a/back")).assert_equals(&before, Aspects::All, "after the remount");
    assert_eq!(fs::read_dir(drive.path("to")).unwrap().count(), 0);
    drive.check();
}

#[test]
fn a_chain_of_renames_ends_with_the_right_content() {
    let mut drive = Drive::mounted();
    for round in 0..3 {
        // Rotating logs: every name is reused at once, some before anything was saved.
        fs::write(drive.path("log"), format!("round {round}")).unwrap();
        for i in (0..5).rev() {
            let from = drive.path(if i == 0 { "log".into() } else { format!("log.{i}") });
            if from.exists() {
                fs::rename(from, drive.path(format!("log.{}", i + 1))).unwrap();
            }
        }
        if round == 1 {
            drive.remount();
        }
    }
    drive.remount();
    for (i, round) in [(1, 2), (2, 1), (3, 0)] {
        assert_eq!(fs::read_to_string(drive.path(format!("log.{i}"))).unwrap(), format!("round {round}"));
    }
    assert_eq!(fs::read_dir(drive.root()).unwrap().count(), 3);
    drive.check();
}

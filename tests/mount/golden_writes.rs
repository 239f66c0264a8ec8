//! Accounts of the reference client, written to: what comes out is what was asked for, the independent checker finds nothing
//! wrong with how it is stored, and friends see the changes.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::harness::{Aspects, Drive, Golden, Line, Scratch, Server, Tree, filled, poll, shell};
use crate::offline::status;

/// Two files or folders are moved into this shared folder, which is a writing space of its own, and two out of it.
const SHARED: &str = "team";

/// The same changes to a drive with ada's files and to a plain copy of them.
fn change_ada(root: &Path) {
    let at = |path: &str| root.join(path);
    let append = |path: &str, bytes: &[u8]| {
        File::options().append(true).open(at(path)).unwrap().write_all(bytes).unwrap();
    };
    let overwrite = |path: &str, offset: u64, bytes: &[u8]| {
        File::options().write(true).open(at(path)).unwrap().write_all_at(bytes, offset).unwrap();
    };
    let resize = |path: &str, len: u64| File::options().write(true).open(at(path)).unwrap().set_len(len).unwrap();
    let rename = |from: &str, to: &str| fs::rename(at(from), at(to)).unwrap_or_else(|e| panic!("{from} -> {to}: {e}"));

    append("hello.txt", b" and more");
    append("edit/append.log", &filled(1, 5000));
    append("sizes/4096.bin", &filled(2, 1));
    append("sizes/5MiB+1.bin", &filled(3, 6 << 20));
    append("team/sub/data.csv", b"4,5,6\n");
    overwrite("sizes/5MiB+1.bin", (5 << 20) - 1000, &filled(4, 3000));
    overwrite("sizes/1MiB-1.bin", (1 << 20) - 100, &filled(5, 300));
    overwrite("sizes/4095.bin", 4000, &filled(6, 200));
    overwrite("edit/section.bin", 150_000, &filled(7, 100_000));
    overwrite("revoked/secret.txt", 3, b"new key");
    resize("revoked/big.bin", (1 << 20) + 5);
    resize("sizes/100000.bin", 10);
    resize("sizes/0.bin", 6 << 20);
    resize("sizes/8192.bin", 0);

    rename("names/UPPER", "names/Upper");
    rename("names/日本語のファイル.txt", "names/ファイル.txt");
    rename("deep/level0/level1", "deep/lifted");
    rename("names/.dotfile", "edit/.dotfile");
    rename("sizes/1.bin", "sizes/4090.bin");

    rename("edit/renamed.txt", "team/into.txt");
    rename("team/plan.md", "plan.md");
    rename("deep/lifted/level2", "team/into");
    rename("team/sub", "edit/out");
    rename("link/move-me.txt", "link/rw/moved.txt");
    rename("link/rw/inbox.txt", "team/inbox.txt");
    rename("sizes/5MiB+1.bin", "team/large.bin");

    fs::create_dir_all(at("team/n/e/w")).unwrap();
    fs::write(at("team/n/e/w/file"), filled(8, 70_000)).unwrap();
    for i in 0..20 {
        fs::remove_file(at(&format!("many/f{i:04}"))).unwrap();
    }
    for i in 0..1200 {
        fs::write(at(&format!("many/new{i:04}")), format!("new {i}")).unwrap();
    }
    fs::remove_file(at("sizes/4097.bin")).unwrap();
    fs::remove_dir_all(at("deep")).unwrap();
}

#[test]
fn ada_is_changed_in_every_way() {
    let (ada, bob) = (Golden::load("ada"), Golden::load("bob"));
    let mut drive = Drive::golden(&ada);
    drive.mount();
    shell(&drive.beside(""), "cp -a mount shadow");
    let shadow = drive.beside("shadow");
    change_ada(&drive.root());
    change_ada(&shadow);
    let expected = Tree::read(&shadow);
    drive.tree().assert_equals(&expected, Aspects::Content, "before the remount");
    let before = drive.tree();
    // What was moved or not touched has the time it had.
    for path in ["names/Upper", "team/into.txt", "team/inbox.txt", "plan.md", "names/UPPER", "sizes/4090.bin"] {
        if let Some(node) = before.0.get(Path::new(path)) {
            assert_eq!(node.modified(), "2026-11-22T01:46:56.000000000", "{path}");
        }
    }
    drive.remount();
    // (What was moved to another writing space has another inode number now.)
    drive.tree().assert_equals(&before, Aspects::Times, "after the remount");

    let export = drive.export();
    export.check(&ada.account, Some(&bob.export())).assert_shows("ada", false, &before);
    // Bob sees in the shared folder what was moved there, through the keys that he already has.
    let friend = bob.export().check(&bob.account, Some(&export));
    for path in ["into.txt", "inbox.txt", "large.bin", "n/e/w/file", "into/level3"] {
        let seen = friend.find(&format!("/ada/{SHARED}/{path}")).unwrap_or_else(|| panic!("bob does not see {path}"));
        let node = before.node(&format!("{SHARED}/{path}"));
        assert_eq!(seen.sha256.clone().unwrap_or("folder".into()), node.content_sha256(), "{path}");
    }
    for path in ["plan.md", "sub"] {
        assert!(friend.find(&format!("/ada/{SHARED}/{path}")).is_none(), "bob still sees {path}");
    }

    let mut restored = Drive::new();
    restored.account = ada.account;
    restored.import(&export);
    restored.mount();
    restored.tree().assert_equals(&before, Aspects::Times, "after a restore");
}

#[test]
fn bob_is_changed() {
    let (ada, bob) = (Golden::load("ada"), Golden::load("bob"));
    let mut drive = Drive::golden(&bob);
    drive.mount();
    shell(&drive.beside(""), "cp -a mount shadow");
    for root in [drive.root(), drive.beside("shadow")] {
        shell(
            &root,
            "mv private.txt from-bob/joint/; mv from-bob/joint/draft.txt .; echo more >> from-bob/notes.txt
             mkdir -p from-bob/joint/a/b; head -c 11M /dev/zero > from-bob/joint/a/b/zeros; rm from-bob/notes.txt
             mv from-bob/joint/a from-bob/a; mv from-bob/a/b/zeros from-bob/joint/a",
        );
    }
    drive.tree().assert_equals(&Tree::read(&drive.beside("shadow")), Aspects::Content, "before the remount");
    drive.remount();
    let after = drive.tree();
    after.assert_equals(&Tree::read(&drive.beside("shadow")), Aspects::Content, "after the remount");
    drive.export().check(&bob.account, Some(&ada.export())).assert_shows("bob", false, &after);
}

#[test]
fn what_is_shared_can_be_moved_and_deleted() {
    let (ada, bob) = (Golden::load("ada"), Golden::load("bob"));
    let mut drive = Drive::golden(&ada);
    drive.mount();
    shell(&drive.root(), "mv team edit/team; mv link/rw rw; mv photos/2024 names/");
    drive.remount();
    let moved = drive.tree();
    // Shares and links that lead to what was moved are stale, as they are after the reference client moved it.
    drive.export().check_leniently(&ada.account, Some(&bob.export())).assert_shows("ada", false, &moved);
    drive.mount();
    shell(&drive.root(), "rm -r edit rw link photos revoked");
    drive.remount();
    let left = drive.tree();
    drive.export().check_leniently(&ada.account, Some(&bob.export())).assert_shows("ada", false, &left);
}

#[test]
fn what_needs_the_server_is_refused_without_it() {
    let (ada, line, scratch) = (Golden::load("ada"), Line::new(), Scratch::new());
    let state = scratch.join("state");
    [&ada, &Golden::load("bob")].iter().for_each(|golden| golden.import_into(&state));
    let server = Server::on(&state, &["--host", &line.host()]);
    line.lead_to(server.address());
    let mut drive = server.drive_over(&line, &ada.account);
    drive.mount();
    let read = ["hello.txt", "revoked/secret.txt", "team/plan.md", "sizes/0.bin"];
    read.iter().for_each(|path| drop(fs::read(drive.path(path)).unwrap()));
    line.cut();
    assert!(poll(|| fs::read(drive.path("edit/section.bin")).is_err() && status(&drive)["node"] == "offline"));
    let write = |path: &str| File::options().write(true).open(drive.path(path))?.write_all_at(b"x", 1000);
    // what would have to be committed first
    write("hello.txt").unwrap();
    let refused = [
        ("other keys", write("revoked/secret.txt")),
        ("a part of what is not here", write("sizes/1MiB-1.bin")),
        ("another writing space", fs::rename(drive.path("hello.txt"), drive.path("team/hello.txt"))),
    ];
    for (what, result) in refused {
        assert_eq!(result.map_err(|error| error.raw_os_error()), Err(Some(libc::EIO)), "{what}");
    }
    line.mend();
    assert!(poll(|| status(&drive)["node"] == "online"), "{}", status(&drive));
    fs::rename(drive.path("hello.txt"), drive.path("team/hello.txt")).unwrap();
    write("revoked/secret.txt").unwrap();
    drive.unmount();
    server.check_leniently(&ada.account);
    server.stop();
}

//! Attributes: what they are after each operation, and that a remount changes none.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, chown, lchown, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};
use rustix::io::Errno;

use crate::harness::{Aspects, Drive, filled, shell};

const PAST: Timespec = Timespec { tv_sec: 981_173_106, tv_nsec: 123_456_789 };

fn set_times(path: &Path, access: Timespec, modification: Timespec) {
    let times = Timestamps { last_access: access, last_modification: modification };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

fn age(path: &Path) {
    set_times(path, PAST, PAST);
}

fn mtime(path: &Path) -> (i64, i64) {
    let meta = fs::symlink_metadata(path).unwrap();
    (meta.mtime(), meta.mtime_nsec())
}

fn is_past(path: &Path) -> bool {
    mtime(path) == (PAST.tv_sec, PAST.tv_nsec)
}

fn is_recent(path: &Path) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    now.abs_diff(Duration::from_secs(mtime(path).0.try_into().unwrap())) < Duration::from_secs(3600)
}

#[test]
fn everything_survives_a_remount() {
    let mut drive = Drive::mounted();
    let p = |name: &str| drive.path(name);
    for mode in [0o000, 0o400, 0o644, 0o755, 0o777, 0o1777, 0o4755, 0o2755] {
        fs::write(p(&format!("f{mode:o}")), "x").unwrap();
        fs::set_permissions(p(&format!("f{mode:o}")), Permissions::from_mode(mode)).unwrap();
        fs::create_dir(p(&format!("d{mode:o}"))).unwrap();
        fs::set_permissions(p(&format!("d{mode:o}")), Permissions::from_mode(mode)).unwrap();
    }
    fs::create_dir(p("owned")).unwrap();
    fs::write(p("owned/x"), "x").unwrap();
    chown(p("owned"), Some(1234), Some(5678)).unwrap();
    chown(p("owned/x"), Some(4_000_000_000), None).unwrap();
    for (i, target) in
        ["f644", "nowhere/at/all", "/etc/passwd", &"long/".repeat(800), "Πύργος 😀"].into_iter().enumerate()
    {
        symlink(target, p(&format!("link{i}"))).unwrap();
        lchown(p(&format!("link{i}")), Some(77), Some(78)).unwrap();
        set_times(&p(&format!("link{i}")), PAST, Timespec { tv_sec: i as i64, tv_nsec: 7 });
    }
    for (i, seconds) in [0, 1, -1, -86400 * 365 * 60, 1 << 31, 1 << 32, 4_102_444_799].into_iter().enumerate() {
        let name = p(&format!("time{i}"));
        fs::write(&name, "x").unwrap();
        set_times(&name, PAST, Timespec { tv_sec: seconds, tv_nsec: 999_999_999 });
        assert_eq!(mtime(&name), (seconds, 999_999_999));
    }
    age(&p("owned"));
    let before = drive.tree();
    assert_eq!(before.node("f4755").mode, 0o4755);
    assert_eq!((before.node("owned").uid, before.node("owned").gid), (1234, 5678));
    assert_eq!((before.node("owned/x").uid, before.node("owned/x").gid), (4_000_000_000, 0));
    assert_eq!(before.node("link3").size, 4000);
    drive.remount();
    drive.tree().assert_equals(&before, Aspects::All, "after the remount");
    assert_eq!(fs::read_link(drive.path("link1")).unwrap(), Path::new("nowhere/at/all"));
    drive.check().assert_shows("carol", false, &before);
}

#[test]
fn new_entries_get_mode_owner_and_time() {
    let drive = Drive::mounted();
    shell(&drive.root(), "umask 027; touch f; mkdir d; ln -s f l");
    assert_eq!(
        shell(&drive.root(), "stat -c '%a %u %g %F' f d l"),
        "640 0 0 regular empty file\n750 0 0 directory\n777 0 0 symbolic link\n"
    );
    shell(&drive.root(), "mkdir set; chgrp 99 set; chmod g+s set; touch set/f; mkdir set/d");
    assert_eq!(
        shell(&drive.root(), "stat -c '%g %a' set/f set/d"),
        "99 644\n99 2755\n",
        "in a folder with set-group-id"
    );
    for name in ["f", "d", "l"] {
        assert!(is_recent(&drive.path(name)), "{name}");
    }
}

#[test]
fn modification_time_follows_modifications_only() {
    let mut drive = Drive::mounted();
    let x = drive.path("x");
    fs::write(&x, filled(1, 10_000)).unwrap();
    let touches: [(&str, &dyn Fn(), bool); 8] = [
        ("read", &|| drop(fs::read(&x).unwrap()), false),
        ("chmod", &|| fs::set_permissions(&x, Permissions::from_mode(0o600)).unwrap(), false),
        ("chown", &|| chown(&x, Some(5), None).unwrap(), false),
        ("open for writing", &|| drop(File::options().write(true).open(&x).unwrap()), false),
        (
            "rename",
            &|| (fs::rename(&x, x.with_extension("b")).unwrap(), fs::rename(x.with_extension("b"), &x).unwrap()).0,
            false,
        ),
        ("write", &|| File::options().write(true).open(&x).unwrap().write_all_at(b"x", 5).unwrap(), true),
        ("truncate", &|| File::options().write(true).open(&x).unwrap().set_len(77).unwrap(), true),
        ("O_TRUNC", &|| drop(File::create(&x).unwrap()), true),
    ];
    for (what, touch, modifies) in touches {
        age(&x);
        assert!(is_past(&x));
        let changed = |m: fs::Metadata| (m.ctime(), m.ctime_nsec());
        let before = changed(fs::metadata(&x).unwrap());
        touch();
        assert_eq!(is_recent(&x), modifies, "{what}");
        assert_eq!(is_past(&x), !modifies, "{what}");
        assert!(changed(fs::metadata(&x).unwrap()) >= before, "{what} turned the change time back");
    }
    // A time that was set while data is still unwritten must not be overwritten when it is written.
    let open = File::options().write(true).open(&x).unwrap();
    open.write_all_at(&filled(2, 3_000_000), 0).unwrap();
    age(&x);
    open.sync_all().unwrap();
    drop(open);
    assert!(is_past(&x), "the flush changed the time");
    drive.remount();
    assert!(is_past(&drive.path("x")), "the remount changed the time");
}

#[test]
fn folder_time_follows_its_entries() {
    let mut drive = Drive::mounted();
    let d = drive.path("d");
    fs::create_dir_all(d.join("sub")).unwrap();
    fs::write(d.join("x"), "x").unwrap();
    let touches: [(&str, &dyn Fn(), bool); 8] = [
        (
            "content of a file",
            &|| File::options().write(true).open(d.join("x")).unwrap().write_all_at(b"yy", 0).unwrap(),
            false,
        ),
        ("entry of a folder below", &|| fs::write(d.join("sub/y"), "y").unwrap(), false),
        ("listing", &|| assert_eq!(fs::read_dir(&d).unwrap().count(), 2), false),
        ("create", &|| fs::write(d.join("new"), "").unwrap(), true),
        ("rename within", &|| fs::rename(d.join("new"), d.join("newer")).unwrap(), true),
        ("move out", &|| fs::rename(d.join("newer"), d.with_extension("out")).unwrap(), true),
        ("mkdir", &|| fs::create_dir(d.join("e")).unwrap(), true),
        ("rmdir", &|| fs::remove_dir(d.join("e")).unwrap(), true),
    ];
    for (what, touch, modifies) in touches {
        age(&d);
        touch();
        assert_eq!((is_past(&d), is_recent(&d)), (!modifies, modifies), "{what}");
    }
    age(&d);
    age(&d.join("sub"));
    drive.remount();
    assert!(is_past(&d) && is_past(&d.join("sub")), "the remount changed a folder's time");
}

#[test]
fn special_times() {
    let drive = Drive::mounted();
    let x = drive.path("x");
    fs::write(&x, "x").unwrap();
    age(&x);
    let special = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    set_times(&x, special(UTIME_OMIT), special(UTIME_OMIT));
    assert!(is_past(&x));
    set_times(&x, special(UTIME_NOW), special(UTIME_OMIT));
    assert!(is_past(&x), "setting the access time only");
    set_times(&x, special(UTIME_OMIT), special(UTIME_NOW));
    assert!(is_recent(&x));
}

#[test]
fn inode_numbers_identify() {
    let mut drive = Drive::mounted();
    shell(&drive.root(), "mkdir -p a/b; seq 600 | xargs -I{} touch a/{}; echo 1 > x; ln -s x l");
    let before = drive.tree();
    let numbers: std::collections::BTreeSet<u64> = before.0.values().map(|n| n.inode).collect();
    assert_eq!(numbers.len(), before.0.len(), "two entries share an inode number");
    let inode = |path: &str| fs::symlink_metadata(drive.path(path)).unwrap().ino();
    let x = inode("x");
    fs::rename(drive.path("x"), drive.path("a/b/y")).unwrap();
    assert_eq!(inode("a/b/y"), x, "a rename makes no new file");
    fs::rename(drive.path("a"), drive.path("c")).unwrap();
    assert_eq!(inode("c/b/y"), x);
    let listed = shell(&drive.root(), "ls -i c | awk '{print $1}' | sort");
    let stated = shell(&drive.root(), "stat -c %i c/* | sort");
    assert_eq!(listed, stated, "readdir and stat disagree");
    let moved = drive.tree();
    drive.remount();
    drive.tree().assert_equals(&moved, Aspects::All, "after the remount");
}

#[test]
fn pipes_sockets_and_devices_are_kept() {
    let mut drive = Drive::mounted();
    let make = "umask 027; mkfifo pipe; mkfifo -m 666 other; mknod disk b 8 300; mknod -m 600 line c 511 1048575
        python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"socket\")'
        mv other moved; touch -d 2001-02-03 disk; chown 7:8 pipe; mkdir -p d/e d/f";
    shell(&drive.root(), make);
    let all = "stat -c '%n %F %f %t:%T %u:%g %s' *";
    let expected = "d directory 41e8 0:0 0:0 0
disk block special file 61a0 8:12c 0:0 0
line character special file 2180 1ff:fffff 0:0 0
moved fifo 11b6 0:0 0:0 0
pipe fifo 11a0 0:0 7:8 0
socket socket c1e8 0:0 0:0 0
";
    assert_eq!(shell(&drive.root(), all), expected);
    let before = drive.tree();
    drive.remount();
    assert_eq!(shell(&drive.root(), all), expected, "after the remount");
    drive.tree().assert_equals(&before, Aspects::All, "after the remount");
    assert_eq!(shell(&drive.root(), "echo through > pipe & cat pipe; wait"), "through\n");
    // nothing behind it: nobody listens, and devices are not opened
    let refused = "! cat line 2> said; grep -q 'Permission denied' said; rm said";
    shell(&drive.root(), refused);
    shell(&drive.beside(""), "rsync -aX mount/ copy/; rsync -aX copy/ mount/again/");
    let copied = shell(&drive.path("again"), all);
    assert_eq!(copied, expected);
    assert_eq!(shell(&drive.root(), "ls d > /dev/null; stat -c %h d d/e"), "4\n2\n");
    shell(&drive.root(), "rm -r again");
    let listing = drive.check();
    listing.assert_shows("carol", false, &before);
}

#[test]
fn links_are_followed_and_loops_end() {
    let drive = Drive::mounted();
    shell(&drive.root(), "mkdir d; echo x > d/x; ln -s d e; ln -s ../d/x d/y; ln -s loop loop");
    assert_eq!(fs::read(drive.path("e/y")).unwrap(), b"x\n");
    let error = File::open(drive.path("loop")).unwrap_err().raw_os_error();
    assert_eq!(error, Some(Errno::LOOP.raw_os_error()));
    let error = symlink("x", drive.path("e")).unwrap_err().raw_os_error();
    assert_eq!(error, Some(Errno::EXIST.raw_os_error()));
    fs::remove_file(drive.path("e")).unwrap();
    assert!(drive.path("d/x").exists());
}

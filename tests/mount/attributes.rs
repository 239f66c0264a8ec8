//! Extended attributes, access times, and the bits that a change of a file takes from it.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{XattrFlags, getxattr, listxattr, removexattr, setxattr};
use rustix::io::Errno;

use crate::harness::{Drive, command, run_ok, shell};

fn get(path: &Path, name: &str) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0; 64 << 10];
    let len = getxattr(path, name, &mut value)?;
    value.truncate(len);
    Ok(value)
}

#[test]
fn extended_attributes_are_kept() {
    let mut drive = Drive::mounted();
    let (file, dir) = (drive.path("f"), drive.path("d"));
    fs::write(&file, "x").unwrap();
    fs::create_dir(&dir).unwrap();
    let any = XattrFlags::empty();
    for path in [&file, &dir] {
        let before = fs::metadata(path).unwrap();
        setxattr(path, "user.a", b"\0\xff value", any).unwrap();
        setxattr(path, "user.empty", b"", XattrFlags::CREATE).unwrap();
        setxattr(path, "user.a", b"\0\xff other", XattrFlags::REPLACE).unwrap();
        setxattr(path, "user.gone", b"1", any).unwrap();
        removexattr(path, "user.gone").unwrap();
        let after = fs::metadata(path).unwrap();
        assert!((after.ctime(), after.ctime_nsec()) > (before.ctime(), before.ctime_nsec()));
        assert_eq!((after.mtime(), after.mtime_nsec()), (before.mtime(), before.mtime_nsec()));
    }
    assert_eq!(setxattr(&file, "user.a", b"", XattrFlags::CREATE), Err(Errno::EXIST));
    assert_eq!(setxattr(&file, "user.b", b"", XattrFlags::REPLACE), Err(Errno::NODATA));
    assert_eq!(removexattr(&file, "user.b"), Err(Errno::NODATA));
    assert_eq!(get(&file, "user.b"), Err(Errno::NODATA));
    assert_eq!(getxattr(&file, "user.a", &mut [0; 3]), Err(Errno::RANGE));
    assert_eq!(listxattr(&file, &mut [0; 3]), Err(Errno::RANGE));
    for name in ["trusted.a", "security.other", "system.other"] {
        assert_eq!(setxattr(&file, name, b"1", any), Err(Errno::OPNOTSUPP), "{name}");
    }
    let large = vec![7; 20 << 10];
    setxattr(&file, "user.large", &large, any).unwrap();
    assert_eq!(setxattr(&file, "user.more", &large, any), Err(Errno::NOSPC));
    assert_eq!(setxattr(&file, "user.huge", &vec![0; 40 << 10], any), Err(Errno::TOOBIG));
    fs::write(&file, "rewritten").unwrap();
    fs::rename(&file, dir.join("moved")).unwrap();
    let shown = || shell(&dir, "getfattr -d -m - -e hex moved . | sort");
    let before = shown();
    assert_eq!(before.lines().filter(|line| line.starts_with("user.")).count(), 5, "{before}");
    drive.remount();
    assert_eq!(shown(), before, "after the remount");
    assert_eq!(get(&dir.join("moved"), "user.large").unwrap(), large);
    assert_eq!(get(&dir.join("moved"), "user.empty").unwrap(), b"");
    drive.check();
}

#[test]
fn rsync_keeps_extended_attributes() {
    let mut drive = Drive::mounted();
    let make = "mkdir source source/d; echo x > source/f; echo y > source/d/g; setfattr -n user.a -v 1 source/f
        setfattr -n user.b -v two source/d; setfattr -n security.capability -v 0sAQAAAgAgAAAAAAAAAAAAAAAAAAA= source/f";
    shell(&drive.beside(""), make);
    let rsync = "rsync -aX --itemize-changes source/ mount/copy/";
    shell(&drive.beside(""), rsync);
    assert_eq!(shell(&drive.beside(""), rsync), "", "the second run transfers nothing");
    drive.remount();
    assert_eq!(shell(&drive.beside(""), rsync), "", "a run after a remount transfers nothing");
    let dump = |dir: &str| shell(&drive.beside(dir), "find . | sort | xargs getfattr -d -m - -e hex");
    shell(&drive.beside(""), "rsync -aX mount/copy/ back/");
    assert!(dump("source").contains("security.capability"));
    assert_eq!(dump("back"), dump("source"));
    // what somebody else writes to a file has no rights of its own
    shell(&drive.root(), "echo more >> copy/f; ! getfattr -n security.capability copy/f 2> /dev/null");
    drive.check();
}

#[test]
fn reading_sets_the_access_time_once() {
    let drive = Drive::mounted();
    let path = drive.path("f");
    fs::write(&path, vec![1; 100_000]).unwrap();
    File::open(&path).unwrap().sync_all().unwrap();
    let atime = || fs::metadata(&path).map(|meta| (meta.atime(), meta.atime_nsec())).unwrap();
    let read = || drop(shell(&drive.root(), "dd if=f iflag=direct bs=64k status=none | wc -c"));
    let written = atime();
    read();
    let first = atime();
    assert!(first > written, "{written:?} {first:?}");
    read();
    assert_eq!(atime(), first, "not again before the next change");
    fs::write(&path, "y").unwrap();
    read();
    assert!(atime() > first);
}

#[test]
fn what_others_write_loses_its_privileges() {
    let mut drive = Drive::new().with_args(&["--allow-other"]);
    drive.mount();
    shell(
        &drive.root(),
        "chmod 755 .; for f in written cut emptied owned; do echo some > $f; chown nobody $f; chmod 6777 $f; done",
    );
    shell(&drive.beside(""), "chmod 755 .");
    let mut nobody = command("setpriv");
    nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups", "bash", "-euc"]);
    nobody.arg("echo x >> written; truncate -s 1 cut; : > emptied; chgrp 65534 owned");
    run_ok(nobody.current_dir(drive.root()));
    assert_eq!(shell(&drive.root(), "stat -c '%n %a' *"), "cut 777\nemptied 777\nowned 777\nwritten 777\n");
}

//! What the options of the command line and of mount(8) change.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::io::Errno;

use crate::harness::{Drive, Golden, command, poll, run, run_ok, shell};
use crate::offline::status;

/// The error number of a failed operation.
fn errno<T>(result: std::io::Result<T>) -> Option<Errno> {
    result.err().and_then(|e| e.raw_os_error()).map(Errno::from_raw_os_error)
}

#[test]
fn read_only_changes_nothing() {
    let mut drive = Drive::mounted();
    shell(&drive.root(), "mkdir d; echo x > d/x; ln -s d l; touch -d 2001-02-03 d/x");
    drive.unmount();
    let before = {
        drive.mount();
        let tree = drive.tree();
        drive.unmount();
        tree
    };
    let mut drive = drive.with_args(&["--read-only"]);
    drive.mount();
    assert_eq!(errno(fs::write(drive.path("d/x"), "y")), Some(Errno::ROFS));
    assert_eq!(errno(fs::write(drive.path("new"), "y")), Some(Errno::ROFS));
    assert_eq!(errno(fs::create_dir(drive.path("new"))), Some(Errno::ROFS));
    assert_eq!(errno(fs::remove_file(drive.path("l"))), Some(Errno::ROFS));
    assert_eq!(errno(fs::rename(drive.path("l"), drive.path("m"))), Some(Errno::ROFS));
    assert_eq!(drive.tree(), before);
    drive.unmount();
    let mut drive = drive.with_args(&[]);
    drive.mount();
    assert_eq!(drive.tree(), before);
}

#[test]
fn mount8_mounts_by_type() {
    let ada = Golden::load("ada");
    let drive = Drive::golden(&ada);
    shell(&drive.beside(""), "umask 077; echo ada-pass-1815 > password");
    // mount(8) looks for programs in the system's folders only. In a mount namespace of its own, one of them is ours.
    let script = format!(
        "mount --bind {bin} /usr/local/sbin
         mount -t fuse.peergos-mount peergos -o username=ada,password_file=$PWD/password,state=$PWD/state,ro mount
         grep $PWD/mount /proc/mounts
         wc -c < mount/hello.txt
         ! touch mount/hello.txt 2> error
         cat error
         umount mount",
        bin = Path::new(env!("CARGO_BIN_EXE_peergos-mount")).parent().unwrap().display()
    );
    let mut mount = command("unshare");
    let said = run_ok(mount.args(["--mount", "bash", "-euc", &script]).current_dir(drive.beside("")));
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("peergos ") && lines[0].contains("fuse.peergos-mount ro,"), "{said}");
    assert_eq!(lines[1], "14");
    assert!(lines[2].contains("Read-only file system"), "{said}");
    // umount(8) calls nothing of ours: the daemon ends by itself, and gives the state free.
    let mut drive = drive;
    drive.mount();
}

#[test]
fn permissions_hold_for_other_users_who_are_let_in() {
    let mut drive = Drive::new().with_args(&["--allow-other"]);
    drive.mount();
    shell(
        &drive.root(),
        "echo open > open; echo closed > closed; chmod 600 closed; mkdir drop; chmod 733 drop; chmod 755 .",
    );
    shell(&drive.beside(""), "chmod 755 .");
    let as_nobody = |script: &str| {
        run(command("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "bash", "-c", script])
            .current_dir(drive.root()))
    };
    let ran = as_nobody("cat open");
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "open\n"), "{}", ran.err);
    assert!(as_nobody("cat closed").err.contains("Permission denied"));
    assert!(as_nobody("echo x > open").err.contains("Permission denied"));
    assert!(as_nobody("echo x > new").err.contains("Permission denied"));
    assert!(as_nobody("ls drop").err.contains("Permission denied"));
    assert_eq!(as_nobody("echo mine > drop/mine").code, Some(0));
    assert_eq!(shell(&drive.root(), "stat -c %u:%g drop/mine"), "65534:65534\n");
    drive.remount();
    assert_eq!(shell(&drive.root(), "stat -c %u:%g:%a drop/mine closed"), "65534:65534:644\n0:0:600\n");
}

#[test]
fn other_users_are_kept_out_otherwise() {
    let drive = Drive::mounted();
    shell(&drive.beside(""), "chmod 755 .");
    let mut ls = command("setpriv");
    ls.args(["--reuid=65534", "--regid=65534", "--clear-groups", "ls"]).arg(drive.root());
    assert!(run(&mut ls).err.contains("Permission denied"));
}

#[test]
fn small_cache_and_long_interval_are_only_slower() {
    let mut drive = Drive::new().with_args(&["--cache-size", "8M", "--commit-interval", "1h"]);
    drive.mount();
    shell(
        &drive.root(),
        "head -c 40M /dev/urandom > big; sha256sum big > sum; seq 500 | xargs -I{} sh -c 'echo {} > {}'",
    );
    drive.remount();
    shell(&drive.root(), "sha256sum --check sum; test $(ls | wc -l) = 502");
}

/// `kill -9`, and the loss of the journal: what is there afterwards had been committed.
fn kill_without_journal(drive: &mut Drive) {
    drive.kill();
    fs::remove_dir_all(drive.state().join("journal")).unwrap();
    drive.mount();
}

#[test]
fn commit_interval_saves_without_a_sync() {
    let mut drive = Drive::new().with_args(&["--commit-interval", "100ms"]);
    drive.mount();
    // again and again, so that it is not for want of changes that something is committed
    let is_committed = || {
        fs::write(drive.path("x"), "saved by time").unwrap();
        status(&drive)["last_commit"].is_u64()
    };
    assert!(poll(is_committed), "nothing is committed without a sync: {}", status(&drive));
    assert!(poll(|| status(&drive)["queue"] == 0), "not all is committed: {}", status(&drive));
    kill_without_journal(&mut drive);
    assert_eq!(fs::read(drive.path("x")).unwrap(), b"saved by time");
}

#[test]
fn what_is_written_synchronously_is_committed() {
    for (args, flags) in [(&[][..], libc::O_SYNC), (&[], libc::O_DSYNC), (&["-o", "sync"], 0)] {
        let mut drive = Drive::new().with_args(args);
        drive.mount();
        for (number, text) in ["one", "and another"].into_iter().enumerate() {
            let mut open = File::options();
            let mut file = open.append(true).create(true).custom_flags(flags).open(drive.path("log")).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            kill_without_journal(&mut drive);
            let expected = ["one", "oneand another"][number];
            assert_eq!(fs::read_to_string(drive.path("log")).unwrap(), expected, "{args:?} {flags:x}");
        }
    }
}

//! Mounts that are taken away in other ways than `peergos-mount umount`: at once, by force, lazily, or by ending the
//! connection. The daemon saves what was acknowledged, and ends with success.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::linux::fs::MetadataExt as _;

use crate::harness::{Drive, command, filled, program, run_ok, shell};

/// Waits for the daemon to end by itself, and mounts again.
fn again(drive: &mut Drive) {
    let status = drive.take_daemon().ended();
    assert!(status.success(), "the daemon ended with {status}");
    drive.mount();
}

/// The kernel asks to release the files that were closed, while the mount is going away.
#[test]
fn files_that_were_just_closed_do_not_spoil_an_unmount() {
    let mut drive = Drive::mounted();
    shell(&drive.root(), "for n in $(seq 400); do echo $n > $n; done; sync *");
    for _ in 0..4 {
        let open: Vec<_> = (1..=400).map(|n| File::open(drive.path(n.to_string())).unwrap()).collect();
        drop(open);
        run_ok(command("umount").arg(drive.root()));
        again(&mut drive);
    }
    assert_eq!(fs::read_to_string(drive.path("400")).unwrap(), "400\n");
}

#[test]
fn by_force() {
    let mut drive = Drive::mounted();
    let mut open = File::create(drive.path("open")).unwrap();
    open.write_all(&filled(1, 3 << 20)).unwrap();
    fs::write(drive.path("closed"), "acknowledged").unwrap();
    // which ends the connection, and leaves a mount that is in use where it is
    let _ = command("umount").arg("-f").arg(drive.root()).output();
    assert_eq!(open.write_all(b"x").unwrap_err().kind(), ErrorKind::NotConnected);
    again(&mut drive);
    drop(open);
    assert!(fs::read(drive.path("open")).unwrap() == filled(1, 3 << 20));
    assert_eq!(fs::read(drive.path("closed")).unwrap(), b"acknowledged");
}

#[test]
fn by_ending_the_connection() {
    let mut drive = Drive::mounted();
    let open = File::create(drive.path("open")).unwrap();
    fs::write(drive.path("closed"), "acknowledged").unwrap();
    let connection = rustix::fs::minor(fs::metadata(drive.root()).unwrap().st_dev());
    let abort = format!("mkdir all; mount -t fusectl none all; echo 1 > all/{connection}/abort; umount all");
    shell(&drive.beside(""), &abort);
    again(&mut drive);
    drop(open);
    assert_eq!(fs::read(drive.path("closed")).unwrap(), b"acknowledged");
}

/// Programs that have files open go on, another drive may take the place meanwhile, and is not harmed by the end of the
/// first.
#[test]
fn lazily() {
    let (mut drive, mut other) = (Drive::new(), Drive::new());
    let mut mount = drive.with_account(program());
    run_ok(mount.arg("--daemon").arg(other.root()).env("PEERGOS_PASSWORD", &drive.account.password));
    let mut open = File::create(other.path("open")).unwrap();
    run_ok(command("umount").arg("-l").arg(other.root()));
    other.mount();
    open.write_all(b"goes on").unwrap();
    drop(open);
    // which waits until the first has saved everything
    drive.mount();
    assert_eq!(fs::read(drive.path("open")).unwrap(), b"goes on");
    fs::write(other.path("there"), "still").unwrap();
    other.unmount();
}

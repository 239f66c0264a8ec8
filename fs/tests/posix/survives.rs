//! A daemon that goes on: with panics, and with a node that does not answer.

use std::{
    fs, io,
    io::Read as _,
    path::Path,
    process::Command,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use peergos_fs::fuse::{MountOptions, Session};

use crate::{
    drive::{Drive, ROOT, Watchdog},
    faulty::{Call, Fault},
    model::{CHUNK, assert_same},
    scenarios::{errno, pattern},
};

const MIB: usize = 1 << 20;

/// Waits for what happens in other threads.
fn until(what: &str, happened: impl Fn() -> bool) {
    let began = Instant::now();
    while !happened() {
        assert!(began.elapsed() < Duration::from_secs(120), "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Unmounts when it is dropped, whatever becomes of the test.
struct Mount<'a>(&'a Path);

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_request_that_panics_fails_and_the_next_does_not() {
    let _alive = Watchdog::new("panics in requests");
    let mut drive = Drive::new();
    for name in ["a", "b"] {
        drive.write(name, 0, &pattern(MIB, 1)).unwrap();
    }
    drive.remount();
    let place = tempfile::tempdir().unwrap();
    let (read_only, allow_other, noexec, sync) = (false, false, false, false);
    let options = MountOptions { source: "test".into(), read_only, allow_other, noexec, sync };
    let session = Session::mount(drive.shared(), place.path(), &options).unwrap();
    let session = thread::spawn(move || session.run());
    {
        let _mount = Mount(place.path());
        let is_eio = |result: io::Result<()>| assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EIO));
        // more often than there are threads
        for _ in 0..70 {
            drive.faults.fail(Call::Read, 0, 1, Fault::Panic);
            is_eio(fs::metadata(place.path().join("a")).map(drop));
            assert!(drive.faults.are_spent());
        }
        assert_eq!(fs::metadata(place.path().join("a")).unwrap().len(), MIB as u64);
        let mut file = fs::File::open(place.path().join("a")).unwrap();
        drive.faults.fail(Call::Read, 0, u32::MAX, Fault::Panic);
        is_eio(file.read_to_end(&mut Vec::new()).map(drop));
        drive.faults.heal();
        fs::write(place.path().join("new"), "new").unwrap();
        assert_same(&fs::read(place.path().join("a")).unwrap(), &pattern(MIB, 1), "a");
        assert_same(&fs::read(place.path().join("b")).unwrap(), &pattern(MIB, 1), "b");
    }
    session.join().unwrap().unwrap();
    drive.remount();
    assert_eq!(drive.read("new").unwrap(), b"new");
}

#[test]
fn a_commit_that_panics_is_tried_again() {
    let _alive = Watchdog::new("panics in commits");
    let mut drive = Drive::new();
    let content = pattern(3 * CHUNK as usize + 7, 2);
    for call in [Call::StartTransaction, Call::PutBlocks, Call::SetPointers, Call::Read] {
        let name = format!("{call:?}");
        drive.write("gone", 0, b"gone").unwrap();
        drive.fs().sync().unwrap();
        drive.faults.fail(call, 0, 2, Fault::Panic);
        drive.write(&name, 0, &content).unwrap();
        drive.mkdir(&format!("{name}.d")).unwrap();
        drive.unlink("gone").unwrap();
        let since = Instant::now();
        // chunks are sealed ahead in other threads, which survive as well, and so may take the panics instead
        while !drive.faults.are_spent() && since.elapsed() < Duration::from_secs(20) && call != Call::Read {
            if let Err(error) = drive.fsync(&name) {
                assert_eq!(error.errno(), libc::EIO, "{name}");
            }
        }
        drive.faults.heal();
        drive.fs().sync().unwrap();
        drive.remount();
        assert_same(&drive.read(&name).unwrap(), &content, &name);
        assert!(drive.stat(&format!("{name}.d")).is_ok());
        assert_eq!(errno(drive.stat("gone")), libc::ENOENT);
    }
}

#[test]
fn a_poll_that_panics_is_followed_by_others() {
    let _alive = Watchdog::new("panics in polls");
    let mut drive = Drive::new();
    drive.options.poll_interval = Some(Duration::from_millis(10));
    drive.remount();
    let other = drive.second();
    drive.faults.fail(Call::GetPointer, 0, 3, Fault::Panic);
    until("the polls that panic", || drive.faults.are_spent());
    other.write("theirs", 0, b"theirs").unwrap();
    other.fs().sync().unwrap();
    until("what others wrote is seen", || drive.read("theirs").is_ok_and(|read| read == b"theirs"));
}

#[test]
fn what_is_here_is_answered_while_the_node_is_silent() {
    let _alive = Watchdog::new("a node that does not answer");
    let mut drive = Drive::new();
    for folder in ["cached", "other"] {
        drive.mkdir(folder).unwrap();
        for i in 0..40 {
            drive.write(&format!("{folder}/{i}"), 0, &pattern(2 * MIB, i)).unwrap();
        }
    }
    drive.write("large", 0, &pattern(4 * CHUNK as usize, 1)).unwrap();
    drive.remount();
    // as a kernel that has been there
    for i in 0..40 {
        drive.lookup(&format!("cached/{i}")).unwrap();
    }
    drive.fs().statfs().unwrap();
    assert_same(&drive.read("cached/3").unwrap(), &pattern(2 * MIB, 3), "before");
    let large = drive.open("large").unwrap();
    for i in 0..3 {
        drive.fs().read(large, i << 17, 1 << 17, |_| ()).unwrap();
    }
    let silence = drive.faults.wedge();
    let (drive_, faults) = (&drive, &drive.faults);
    thread::scope(|scope| {
        // a commit, and more reads of what is not here than there are threads for anything
        drive_.write("cached/3", 0, b"changed").unwrap();
        scope.spawn(|| drive_.fs().sync().unwrap());
        for i in 0..20 {
            scope
                .spawn(move || assert_same(&drive_.read(&format!("other/{i}")).unwrap(), &pattern(2 * MIB, i), "late"));
        }
        let sequential = scope.spawn(|| {
            for i in 3..160 {
                drive_.fs().read(large, i << 17, 1 << 17, |_| ()).unwrap();
            }
        });
        until("all wait", || faults.waiting() > 20);
        let (done, is_done) = mpsc::channel();
        scope.spawn(move || {
            for round in 0..20 {
                for i in 0..40 {
                    let attr = drive_.lookup(&format!("cached/{i}")).unwrap();
                    drive_.fs().getattr(attr.ino).unwrap();
                    drive_.fs().forget(attr.ino, 1);
                }
                assert_eq!(drive_.names("cached").unwrap().len(), 40);
                assert!(drive_.read("cached/3").unwrap().starts_with(b"changed"));
                drive_.fs().getattr(ROOT).unwrap();
                if round == 10 {
                    // older than what it may tell without asking
                    thread::sleep(Duration::from_millis(1100));
                }
                drive_.fs().statfs().unwrap();
                drive_.write("cached/3", 7, &[round]).unwrap();
                drive_.mkdir(&format!("cached/new{round}")).unwrap();
                drive_.rmdir(&format!("cached/new{round}")).unwrap();
            }
            done.send(()).unwrap();
        });
        let answered = is_done.recv_timeout(Duration::from_secs(60));
        drop(silence);
        answered.expect("what is here is answered");
        sequential.join().unwrap();
    });
    drive.fs().release(large);
}

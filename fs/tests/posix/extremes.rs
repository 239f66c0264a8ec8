//! Sizes and times that nothing is made for.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use peergos_fs::posix::SetAttr;

use crate::{
    drive::{Drive, Watchdog},
    model::assert_same,
    scenarios::{errno, pattern},
};

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

#[test]
fn times_far_away_are_kept_as_well_as_they_can_be() {
    let mut drive = Drive::new();
    drive.write("f", 0, b"x").unwrap();
    drive.mkdir("d").unwrap();
    let after = |secs, nanos| UNIX_EPOCH.checked_add(Duration::new(secs, nanos)).unwrap();
    let before = |secs, nanos| UNIX_EPOCH.checked_sub(Duration::new(secs, nanos)).unwrap();
    let year = 31_556_952;
    // what the protocol's calendar, which ends after a billion years, can say is kept exactly
    let exact = [before(1, 500_000_000), before(2_000 * year, 1), after(7_000 * year, 999_999_999), UNIX_EPOCH];
    let beyond = [after(i64::MAX as u64, 999_999_999), before(1 << 63, 0), before(i64::MAX as u64, 1)];
    for (i, mtime) in exact.into_iter().chain(beyond).enumerate() {
        for path in ["f", "d"] {
            let set = SetAttr { mtime: Some(mtime), atime: Some(mtime), ..Default::default() };
            let told = drive.set(path, &set).unwrap().mtime;
            assert!(told == mtime || i >= exact.len(), "{path} {mtime:?}: {told:?}");
            assert_eq!(drive.stat(path).unwrap().mtime, told, "{path} {mtime:?}");
            drive.fsync(path).unwrap();
            assert_eq!(drive.stat(path).unwrap().mtime, told, "{path} {mtime:?}");
            drive.remount();
            assert_eq!(drive.stat(path).unwrap().mtime, told, "{path} {mtime:?}");
        }
    }
    let now = SystemTime::now();
    drive.set("f", &SetAttr { mtime: Some(now), ..Default::default() }).unwrap();
    drive.remount();
    assert_eq!((drive.stat("f").unwrap().mtime, drive.read("f").unwrap()), (now, b"x".to_vec()));
}

#[test]
fn sizes_that_cannot_be_are_refused_at_once() {
    let _alive = Watchdog::new("sizes");
    let mut drive = Drive::new();
    drive.node().set_quota("ada", Some(1 << 30)).unwrap();
    let content = pattern(6 * MIB as usize, 1);
    for path in ["f", "other"] {
        drive.write(path, 0, &content).unwrap();
    }
    for (size, refusal) in [
        (TIB, &[libc::EDQUOT][..]),
        (1 << 53, &[libc::EDQUOT, libc::EFBIG]),
        ((1 << 53) + 1, &[libc::EFBIG]),
        (1 << 60, &[libc::EFBIG]),
        (u64::MAX, &[libc::EFBIG]),
    ] {
        assert!(refusal.contains(&errno(drive.truncate("f", size))), "{size}");
        assert!(refusal.contains(&errno(drive.write("f", size, b"x"))), "{size}");
        assert_eq!(drive.stat("f").unwrap().size, content.len() as u64);
        drive.write("other", 0, &content[..10]).unwrap();
        drive.fs().sync().unwrap();
    }
    drive.remount();
    for path in ["f", "other"] {
        assert_same(&drive.read(path).unwrap(), &content, path);
    }
}

#[test]
fn what_is_more_than_the_quota_waits_until_there_is_room() {
    let _alive = Watchdog::new("quota");
    let mut drive = Drive::new();
    drive.write("other", 0, b"kept").unwrap();
    drive.write("f", 0, b"begin").unwrap();
    drive.fs().sync().unwrap();
    let (used, _) = drive.account().space(drive.node(), SystemTime::now()).unwrap();
    drive.node().set_quota("ada", Some(used + 20 * MIB)).unwrap();
    // each fits, but not both
    for path in ["f", "g"] {
        drive.write(path, 11 * MIB, b"end").unwrap();
    }
    drive.write("other", 4, b" too").unwrap();
    for _ in 0..3 {
        assert_eq!(errno(drive.fs().sync()), libc::EDQUOT);
        assert_eq!(drive.read("f").unwrap()[..6], *b"begin\0");
    }
    drive.node().set_quota("ada", Some(used + 30 * MIB)).unwrap();
    drive.fs().sync().unwrap();
    drive.remount();
    assert_eq!(drive.read("other").unwrap(), b"kept too");
    for (path, begin) in [("f", &b"begin"[..]), ("g", b"")] {
        let mut expected = begin.to_vec();
        expected.resize(11 * MIB as usize, 0);
        expected.extend(b"end");
        assert_same(&drive.read(path).unwrap(), &expected, path);
    }
}

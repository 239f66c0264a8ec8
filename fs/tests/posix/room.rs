//! How much room there is, foretold: who writes more is refused when writing, and what was taken is saved.

use peergos_fs::Result;

use crate::{
    drive::{Drive, ROOT, Watchdog, caller},
    faulty::{Call, Fault},
    model::{CHUNK, assert_same},
    scenarios::{errno, pattern},
};

const MIB: usize = 1 << 20;
const QUOTA: u64 = 24_000_000;

fn drive() -> Drive {
    let mut drive = Drive::new();
    drive.options.dirty_bytes = 512 << 20;
    drive.node().set_quota("ada", Some(QUOTA)).unwrap();
    drive.remount();
    drive
}

/// Calls with growing numbers until it is refused with EDQUOT; returns how often it was not.
fn until_full(mut call: impl FnMut(u64) -> Result<()>) -> u64 {
    for number in 0..10_000 {
        if let Err(error) = call(number) {
            assert_eq!(error.errno(), libc::EDQUOT);
            return number;
        }
    }
    panic!("it is never full");
}

fn free(drive: &Drive) -> u64 {
    let space = drive.fs().statfs().unwrap();
    space.free * u64::from(space.block_size)
}

#[test]
fn what_was_taken_is_saved_and_more_is_refused() {
    let _alive = Watchdog::new("foretold room");
    // in files of less than a fragment, of more than a chunk, and without content
    for size in [700_000, 6 * MIB, 0] {
        let mut drive = drive();
        let before = free(&drive);
        let count = until_full(|i| drive.write(&format!("{i}"), 0, &pattern(size, i)));
        let taken = count * size as u64;
        if size > 0 {
            assert!(taken + (2 * size + MIB) as u64 > before, "{taken} bytes of {before} were taken");
        }
        // not even a name
        until_full(|i| drive.mkdir(&format!("d{i}")).map(drop));
        assert_eq!(errno(drive.fs().symlink(ROOT, "l".as_ref(), "x".as_ref(), caller())), libc::EDQUOT);
        drive.fs().sync().unwrap();
        drive.remount();
        for i in (0..count).step_by(1 + count as usize / 50) {
            assert_same(&drive.read(&format!("{i}")).unwrap(), &pattern(size, i), "taken");
        }
    }
}

#[test]
fn what_makes_room_is_always_allowed_and_makes_it() {
    let _alive = Watchdog::new("foretold room");
    // what was stored before there was a quota is none of today's uploads, which are limited as well
    let mut drive = Drive::new();
    for i in 0..8 {
        drive.write(&format!("{i}"), 0, &pattern(2 * MIB, i)).unwrap();
    }
    drive.remount();
    drive.node().set_quota("ada", Some(QUOTA)).unwrap();
    drive.remount();
    let count = until_full(|i| drive.write(&format!("more {i}"), 0, &pattern(2 * MIB, i)));
    assert!((2..5).contains(&count), "{count}");
    // to be stored as a whole again, for which there is no room; and then there is
    assert_eq!(errno(drive.write("0", 0, &pattern(MIB, 1))), libc::EDQUOT);
    assert_eq!(errno(drive.truncate("0", 4 << 30)), libc::EDQUOT);
    drive.truncate("1", 10).unwrap();
    drive.rename("2", "3").unwrap();
    drive.unlink("4").unwrap();
    assert_eq!(drive.stat("0").unwrap().size, 2 << 20);
    drive.write("0", 0, &pattern(MIB, 1)).unwrap();
    drive.write("new", 0, &pattern(MIB, 1)).unwrap();
    drive.fs().sync().unwrap();
}

#[test]
fn statfs_knows_what_waits_and_what_is_committed() {
    let _alive = Watchdog::new("foretold room");
    let drive = drive();
    drive.fs().sync().unwrap();
    let before = free(&drive);
    let about = |expected: u64| {
        let free = free(&drive);
        assert!(free.abs_diff(expected) < 500_000, "{free} instead of {expected}");
    };
    drive.write("f", 0, &pattern(3 * MIB, 1)).unwrap();
    about(before - 3 * MIB as u64);
    drive.fs().sync().unwrap();
    about(before - 3 * MIB as u64);
    drive.unlink("f").unwrap();
    drive.fs().sync().unwrap();
    about(before);
    // sealed ahead
    drive.write("g", 0, &pattern(2 * CHUNK as usize, 1)).unwrap();
    about(before - 2 * CHUNK);
}

#[test]
fn others_may_use_what_was_foretold() {
    let _alive = Watchdog::new("foretold room");
    let mut drive = drive();
    let other = drive.second();
    drive.write("ours", 0, &pattern(12 * MIB, 1)).unwrap();
    let count = until_full(|i| {
        other.write(&format!("theirs {i}"), 0, &pattern(MIB, i))?;
        other.fs().sync()
    });
    assert!(count > 5);
    let failed = drive.fsync("ours");
    if let Err(error) = failed {
        assert_eq!(error.errno(), libc::EDQUOT);
    }
    assert_eq!(errno(drive.write("more", 0, &pattern(12 * MIB, 1))), libc::EDQUOT);
    for i in 0..count {
        other.unlink(&format!("theirs {i}")).unwrap();
    }
    // the one for which there was no room, if there was room for its name
    let _ = other.unlink(&format!("theirs {count}"));
    other.fs().sync().unwrap();
    drop(other);
    drive.node().set_quota("ada", Some(4 * QUOTA)).unwrap();
    drive.fsync("ours").unwrap();
    drive.remount();
    assert_same(&drive.read("ours").unwrap(), &pattern(12 * MIB, 1), "ours");
}

#[test]
fn without_an_answer_nothing_is_refused() {
    let _alive = Watchdog::new("foretold room");
    let mut drive = drive();
    drive.fs().shutdown().unwrap();
    drive.faults.fail(Call::Usage, 0, u32::MAX, Fault::Io);
    drive.remount();
    assert_eq!(errno(drive.fs().statfs().map(drop)), libc::EIO);
    drive.write("f", 0, &pattern(MIB, 1)).unwrap();
    drive.fs().sync().unwrap();
}

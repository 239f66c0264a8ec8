//! Contents for which there is no room: they wait, and everything else is saved.

use peergos_net::CacheSizes;

use crate::{
    drive::{Drive, Watchdog},
    faulty::{Call, Fault},
    model::assert_same,
    scenarios::{errno, pattern},
};

const MIB: usize = 1 << 20;
const ALWAYS: u32 = u32::MAX;

/// A drive whose groups are committed when a test asks for them.
fn drive() -> Drive {
    let mut drive = Drive::new();
    drive.options.dirty_bytes = 512 << 20;
    drive.remount();
    for (name, size) in [("gone", MIB), ("grown", 6 * MIB), ("moved", MIB), ("target", 100_000)] {
        drive.write(name, 0, &pattern(size, 1)).unwrap();
    }
    drive.fs().sync().unwrap();
    drive
}

/// Changes everything, when there is room for structure only.
fn change(drive: &Drive, fault: Fault) {
    drive.faults.fail(Call::PutBlocks, 0, ALWAYS, fault);
    drive.write("new", 0, &pattern(3 * MIB, 2)).unwrap();
    drive.write("grown", 5 * MIB as u64, &pattern(7 * MIB, 3)).unwrap();
    drive.rename("grown", "renamed").unwrap();
    drive.unlink("gone").unwrap();
    drive.mkdir("d").unwrap();
    drive.rename("moved", "d/moved").unwrap();
    drive.write("temporary", 0, &pattern(200_000, 4)).unwrap();
    drive.rename("temporary", "target").unwrap();
    for name in ["new", "renamed", "target"] {
        assert_eq!(errno(drive.fsync(name)), fault.errno(), "{name}");
    }
    drive.fsync("d/moved").unwrap();
    drive.fsync("").unwrap();
    assert_eq!(errno(drive.fs().sync()), fault.errno());
}

fn grown() -> Vec<u8> {
    [&pattern(6 * MIB, 1)[..5 * MIB], &pattern(7 * MIB, 3)].concat()
}

fn assert_changed(drive: &Drive) {
    assert_eq!(drive.names("").unwrap(), ["d", "new", "renamed", "target"]);
    assert_same(&drive.read("new").unwrap(), &pattern(3 * MIB, 2), "new");
    assert_same(&drive.read("renamed").unwrap(), &grown(), "renamed");
    assert_same(&drive.read("target").unwrap(), &pattern(200_000, 4), "target");
    assert_same(&drive.read("d/moved").unwrap(), &pattern(MIB, 1), "moved");
}

#[test]
fn what_does_not_fit_waits_and_the_rest_is_saved() {
    let _alive = Watchdog::new("no room");
    for fault in [Fault::DiskFull, Fault::QuotaReached] {
        let mut drive = drive();
        let before = drive.stat("grown").unwrap().mtime;
        change(&drive, fault);
        assert_changed(&drive);
        assert_eq!(drive.remount_after_loss(), fault.errno());
        drive.faults.heal();
        // neither a file nor a time without its content, and what was to be replaced
        assert_eq!(drive.names("").unwrap(), ["d", "renamed", "target"]);
        assert_same(&drive.read("renamed").unwrap(), &pattern(6 * MIB, 1), "renamed");
        assert_eq!(drive.stat("renamed").unwrap().mtime, before);
        assert_same(&drive.read("target").unwrap(), &pattern(100_000, 1), "target");
        assert_same(&drive.read("d/moved").unwrap(), &pattern(MIB, 1), "moved");
    }
}

#[test]
fn what_waited_is_saved_when_there_is_room() {
    let _alive = Watchdog::new("no room");
    let mut drive = drive();
    change(&drive, Fault::DiskFull);
    // what no pointer reaches yet is not garbage
    drive.node().collect_garbage().unwrap();
    drive.faults.heal();
    drive.fsync("new").unwrap();
    drive.fs().sync().unwrap();
    assert_eq!(drive.fs().dirty_bytes(), 0);
    drive.node().collect_garbage().unwrap();
    drive.remount();
    assert_changed(&drive);
}

#[test]
fn what_waits_can_change_and_go() {
    let _alive = Watchdog::new("no room");
    let mut drive = drive();
    change(&drive, Fault::DiskFull);
    drive.unlink("new").unwrap();
    drive.rename("target", "elsewhere").unwrap();
    drive.truncate("renamed", 5 * MIB as u64).unwrap();
    assert_eq!(errno(drive.fs().sync()), libc::ENOSPC);
    drive.faults.heal();
    drive.fs().sync().unwrap();
    drive.remount();
    assert_eq!(drive.names("").unwrap(), ["d", "elsewhere", "renamed"]);
    assert_same(&drive.read("elsewhere").unwrap(), &pattern(200_000, 4), "elsewhere");
    assert_same(&drive.read("renamed").unwrap(), &pattern(6 * MIB, 1)[..5 * MIB], "renamed");
}

#[test]
fn a_stored_file_replaces_another_with_all_its_content() {
    let _alive = Watchdog::new("no room");
    let mut drive = drive();
    drive.faults.fail(Call::PutBlocks, 0, ALWAYS, Fault::DiskFull);
    drive.write("grown", 5 * MIB as u64, &pattern(7 * MIB, 3)).unwrap();
    drive.rename("grown", "target").unwrap();
    assert_eq!(errno(drive.fsync("target")), libc::ENOSPC);
    assert_eq!(drive.remount_after_loss(), libc::ENOSPC);
    drive.faults.heal();
    assert_same(&drive.read("target").unwrap(), &pattern(100_000, 1), "target");
    assert_same(&drive.read("grown").unwrap(), &pattern(6 * MIB, 1), "grown");
}

#[test]
fn a_full_account_can_be_cleared() {
    let _alive = Watchdog::new("no room");
    let mut drive = Drive::new();
    drive.node().set_quota("ada", Some(12_000_000)).unwrap();
    let mut saved = 0;
    let save = |saved| {
        // more names than a directory node has room for
        for i in 0..10 {
            drive.write(&format!("small {saved} {i}"), 0, b"small")?;
        }
        drive.write(&format!("large {saved}"), 0, &pattern(MIB, saved))?;
        drive.fsync(&format!("large {saved}"))
    };
    let full = loop {
        match save(saved) {
            Ok(()) => saved += 1,
            Err(error) => break error.errno(),
        }
    };
    assert_eq!(full, libc::EDQUOT);
    assert!(saved > 5, "{saved} files fit");
    for i in 0..saved / 2 {
        drive.unlink(&format!("large {i}")).unwrap();
        drive.fsync("").unwrap();
    }
    // a day's uploads are used up, too
    drive.node().set_quota("ada", Some(20_000_000)).unwrap();
    while let Err(error) = save(saved) {
        assert_eq!(error.errno(), libc::EDQUOT, "it takes a moment until a larger quota is known");
    }
    drive.remount();
    assert_eq!(drive.names("").unwrap().len() as u64, 11 * (saved + 1) - saved / 2);
}

#[test]
fn a_deleted_file_is_read_after_a_garbage_collection() {
    let _alive = Watchdog::new("garbage");
    let mut drive = Drive::new();
    drive.caches = CacheSizes { blocks: 0, champ: 0, fragments: 0 };
    drive.options.cache_bytes = 0;
    drive.remount();
    let content = pattern(17 * MIB, 1);
    drive.write("f", 0, &content).unwrap();
    drive.fs().sync().unwrap();
    let handle = drive.open("f").unwrap();
    drive.unlink("f").unwrap();
    drive.fs().sync().unwrap();
    assert!(drive.node().collect_garbage().unwrap().bytes < MIB as u64);
    assert_same(&drive.read_from(handle).unwrap(), &content, "the deleted file");
    drive.fs().release(handle);
    drive.fs().sync().unwrap();
    assert!(drive.node().collect_garbage().unwrap().bytes > 16 * MIB as u64, "it is kept for ever");
}

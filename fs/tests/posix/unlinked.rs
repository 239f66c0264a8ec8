//! Files that are deleted while they are open.

use crate::{
    drive::{Drive, Watchdog},
    faulty::{Call, Fault},
    model::{CHUNK, Random, assert_same, write},
    scenarios::{errno, pattern},
};

const MIB: usize = 1 << 20;

/// A drive with little room for written data.
fn small() -> Drive {
    let mut drive = Drive::new();
    drive.options.dirty_bytes = 8 * MIB;
    drive.options.cache_bytes = 4 * MIB;
    drive.remount();
    drive
}

fn deleted(drive: &Drive, name: &str, content: &[u8]) -> u64 {
    drive.write(name, 0, content).unwrap();
    let handle = drive.open(name).unwrap();
    drive.unlink(name).unwrap();
    handle
}

#[test]
fn more_than_memory_holds_can_be_written_to_a_deleted_file() {
    let _alive = Watchdog::new("deleted files");
    let drive = small();
    let handle = deleted(&drive, "f", b"");
    let mut file = Vec::new();
    let mut random = Random::new(3);
    for round in 0..60 {
        let offset = (random.next(60) * 700_001) as usize;
        let data = pattern(1 + random.next(MIB as u64) as usize, round);
        drive.write_to(handle, offset as u64, &data).unwrap();
        write(&mut file, offset, &data);
        if round % 20 == 19 {
            // nothing that is still read is garbage
            drive.fs().sync().unwrap();
            drive.node().collect_garbage().unwrap();
            assert_same(&drive.read_from(handle).unwrap(), &file, &format!("round {round}"));
        }
        assert!(drive.fs().dirty_bytes() < 30 * MIB as u64, "memory is not bounded");
    }
    drive.fs().release(handle);
    drive.fs().sync().unwrap();
    assert_eq!(drive.fs().dirty_bytes(), 0);
}

#[test]
fn a_deleted_file_is_cut_and_grows() {
    let _alive = Watchdog::new("deleted files");
    let drive = small();
    let mut file = pattern(17 * MIB, 1);
    drive.write("f", 0, &file).unwrap();
    drive.fs().sync().unwrap();
    let handle = drive.open("f").unwrap();
    let ino = drive.lookup("f").unwrap().ino;
    drive.unlink("f").unwrap();
    for (round, size) in [12 * MIB, 12 * MIB + 5, MIB, 11 * MIB, 0, 6 * MIB].into_iter().enumerate() {
        let set = peergos_fs::posix::SetAttr { size: Some(size as u64), ..Default::default() };
        drive.fs().setattr(ino, &set).unwrap();
        file.resize(size, 0);
        let offset = size.saturating_sub(10);
        let data = pattern(3 * MIB, round as u64);
        drive.write_to(handle, offset as u64, &data).unwrap();
        write(&mut file, offset, &data);
        drive.fs().sync().unwrap();
        assert_same(&drive.read_from(handle).unwrap(), &file, &format!("size {size}"));
    }
    let attr = drive.fs().getattr(ino).unwrap();
    assert_eq!((attr.nlink, attr.size), (0, file.len() as u64));
    drive.fs().release(handle);
    drive.fs().forget(ino, 1);
    drive.fs().sync().unwrap();
    assert_eq!(drive.fs().dirty_bytes(), 0);
    assert_eq!(errno(drive.fs().getattr(ino)), libc::ESTALE);
}

#[test]
fn many_deleted_files() {
    let _alive = Watchdog::new("deleted files");
    let mut drive = small();
    let content = |i: u64| pattern(CHUNK as usize / 3 + 100_000 * i as usize, i);
    let handles: Vec<u64> = (0..20).map(|i| deleted(&drive, &format!("f{i}"), &content(i))).collect();
    for (i, &handle) in (0..).zip(&handles) {
        drive.write_to(handle, 7, &[i as u8; 1000]).unwrap();
    }
    drive.fs().sync().unwrap();
    drive.node().collect_garbage().unwrap();
    assert!(drive.fs().dirty_bytes() <= 8 * MIB as u64);
    for (i, handle) in (0..).zip(handles) {
        let mut expected = content(i);
        expected[7..1007].fill(i as u8);
        assert_same(&drive.read_from(handle).unwrap(), &expected, &format!("f{i}"));
        drive.fs().release(handle);
    }
    drive.fs().sync().unwrap();
    assert_eq!(drive.fs().dirty_bytes(), 0);
    drive.remount();
    assert!(drive.names("").unwrap().is_empty());
}

#[test]
fn a_full_disk_is_reported_to_who_writes_to_a_deleted_file() {
    let _alive = Watchdog::new("deleted files");
    let drive = small();
    let handle = deleted(&drive, "f", b"");
    drive.fs().sync().unwrap();
    drive.faults.fail(Call::PutBlocks, 0, u32::MAX, Fault::DiskFull);
    let mut written = Vec::new();
    let refused = loop {
        let piece = pattern(MIB, written.len() as u64);
        // one byte further on, so that no chunk is sealed ahead
        match drive.write_to(handle, written.len() as u64 + 1, &piece) {
            Ok(()) => written.extend(piece),
            Err(error) => break error.errno(),
        }
        assert!(written.len() < 100 * MIB, "memory is not bounded");
    };
    assert_eq!(refused, libc::ENOSPC);
    drive.faults.heal();
    drive.write_to(handle, written.len() as u64 + 1, b"end").unwrap();
    let found = drive.read_from(handle).unwrap();
    assert_same(&found[1..=written.len()], &written, "what was acknowledged");
    drive.fs().release(handle);
}

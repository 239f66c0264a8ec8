//! Chunks that are encrypted and stored while their file is still being changed.

use peergos_fs::posix::SetAttr;

use crate::{
    drive::{Drive, Stop, Watchdog},
    faulty::{Call, Fault},
    model::{CHUNK, Random, assert_same, write},
    scenarios::pattern,
};

const MIB: usize = 1 << 20;

/// How far the sealing of a chunk is when its file is cut.
#[derive(Debug, Clone, Copy)]
enum Seal {
    UnderWay,
    Done,
    Failed,
}

/// Writes exactly one chunk, cuts it, makes the file longer again.
fn cut_and_grow(drive: &mut Drive, seal: Seal, cut: usize) {
    let (full, path) = (pattern(CHUNK as usize, cut as u64), "f");
    if let Seal::Failed = seal {
        drive.faults.fail(Call::PutBlocks, 0, 1, Fault::Io);
    }
    let faults = drive.faults.clone();
    let held = matches!(seal, Seal::UnderWay).then(|| faults.hold_uploads());
    drive.write(path, 0, &full).unwrap();
    let is_so_far = || match seal {
        Seal::UnderWay => true,
        // sealed chunks no longer count
        Seal::Done => drive.fs().dirty_bytes() == 0,
        Seal::Failed => drive.faults.are_spent(),
    };
    while !is_so_far() {
        std::thread::yield_now();
    }
    drive.truncate(path, cut as u64).unwrap();
    drive.truncate(path, 12 * MIB as u64).unwrap();
    drop(held);
    drive.fsync(path).unwrap();
    let mut expected = full[..cut].to_vec();
    expected.resize(12 * MIB, 0);
    let what = format!("{seal:?}, cut to {cut}");
    assert_same(&drive.read(path).unwrap(), &expected, &what);
    drive.remount();
    assert_same(&drive.read(path).unwrap(), &expected, &what);
    drive.unlink(path).unwrap();
    drive.fs().sync().unwrap();
    assert_eq!(drive.fs().dirty_bytes(), 0, "{what}");
}

#[test]
fn a_sealed_chunk_is_cut_and_the_file_grows_again() {
    let _alive = Watchdog::new("sealing");
    let mut drive = Drive::new();
    for seal in [Seal::UnderWay, Seal::Done, Seal::Failed] {
        for cut in [0, 1, MIB, 5 * MIB - 1] {
            cut_and_grow(&mut drive, seal, cut);
        }
    }
}

/// One change of a file, and of what it must be. Sizes and offsets lie around the borders of chunks.
fn change(drive: &Drive, handle: u64, ino: u64, file: &mut Vec<u8>, random: &mut Random) {
    let border = random.next(3) * CHUNK;
    let near = |random: &mut Random| (border + random.next(12)).saturating_sub(6);
    let set_size = |size| {
        let set = SetAttr { size: Some(size), ..Default::default() };
        drive.fs().setattr(ino, &set).unwrap();
    };
    match random.next(8) {
        // fills up the last chunk from where it ends, so that it is sealed
        0 | 1 => {
            let rest = CHUNK as usize - file.len() % CHUNK as usize;
            if file.len() + rest > 3 * CHUNK as usize {
                file.clear();
                drive.fs().setattr(ino, &SetAttr { size: Some(0), ..Default::default() }).unwrap();
                return;
            }
            let data = pattern(rest, random.next(1 << 30));
            drive.write_to(handle, file.len() as u64, &data).unwrap();
            file.extend_from_slice(&data);
        }
        2 | 3 => {
            let (offset, data) = (near(random), pattern(1 + random.next(9000) as usize, random.next(1 << 30)));
            drive.write_to(handle, offset, &data).unwrap();
            write(file, offset as usize, &data);
        }
        4 | 5 => {
            let size = near(random).min(file.len() as u64);
            set_size(size);
            file.truncate(size as usize);
        }
        _ => {
            let size = near(random).max(file.len() as u64);
            set_size(size);
            file.resize(size as usize, 0);
        }
    }
}

#[test]
fn changes_around_borders_while_commits_run() {
    let _alive = Watchdog::new("borders");
    let mut drive = Drive::new();
    let mut file = Vec::new();
    let mut random = Random::new(7);
    for round in 0..4 {
        let handle = if round == 0 { drive.create("f").unwrap() } else { drive.open("f").unwrap() };
        let ino = drive.lookup("f").unwrap().ino;
        let stop = Stop::default();
        std::thread::scope(|scope| {
            let (drive, stop) = (&drive, &stop);
            let _stops = stop.when_dropped();
            scope.spawn(move || {
                while !stop.is_set() {
                    drive.fs().sync().unwrap();
                    std::thread::yield_now();
                }
            });
            for i in 0..50 {
                change(drive, handle, ino, &mut file, &mut random);
                if i % 10 == 9 {
                    assert_same(&drive.read_from(handle).unwrap(), &file, &format!("round {round}, change {i}"));
                }
            }
        });
        drive.fs().release(handle);
        drive.remount();
        assert_same(&drive.read("f").unwrap(), &file, &format!("round {round}, remounted"));
        assert_eq!(drive.fs().dirty_bytes(), 0);
    }
}

//! Crashes: what was acknowledged is there after them, whether it was committed or not, and wherever the program died.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::ErrorKind,
    path::PathBuf,
    time::Duration,
};

use crate::{
    drive::{Drive, Watchdog},
    faulty::{Call, Fault},
    model::{CHUNK, Model, Random, assert_same, seeds},
    scenarios::{errno, pattern},
};

const ALWAYS: u32 = u32::MAX;

fn journalled() -> Drive {
    let mut drive = Drive::new();
    drive.keep_journal();
    // so that nobody has to wait for room where nothing is committed any more
    drive.options.dirty_bytes = 512 << 20;
    drive.remount();
    drive
}

/// From some call on, the node does nothing any more; of a last call, perhaps only the answer is lost.
fn die_soon(drive: &Drive, random: &mut Random) {
    let skip = random.next(4) as u32;
    if random.next(3) == 0 {
        drive.faults.fail(Call::SetPointers, 0, 1, Fault::LostReply);
        drive.faults.fail(Call::GetPointer, 0, ALWAYS, Fault::Io);
    } else {
        let calls = [Call::StartTransaction, Call::PutBlocks, Call::PutVitalBlocks, Call::SetPointers];
        drive.faults.fail(calls[random.next(4) as usize], skip, ALWAYS, Fault::Io);
    }
    drive.faults.fail(Call::SetPointers, skip, ALWAYS, Fault::Io);
}

#[test]
fn every_acknowledged_operation_survives_crashes_at_any_call() {
    let _alive = Watchdog::new("crashes at any call");
    let mut drive = journalled();
    let mut model = Model::new(0);
    for seed in seeds(100..124) {
        eprintln!("seed {seed}");
        model.random = Random::new(seed);
        drive.forget_names(seed % 2 == 0);
        let dies_at = model.random.next(40);
        for step in 0..40 {
            if step == dies_at {
                die_soon(&drive, &mut model.random);
            }
            model.step(&drive);
            if model.random.next(8) == 0 {
                // after its death it cannot
                let _ = drive.fs().sync();
            }
        }
        drive.crash();
        model.compare(&drive);
        if seed % 3 == 0 {
            // again, before and while what was made again is committed
            die_soon(&drive, &mut model.random);
            let _ = drive.fs().sync();
            drive.crash();
            model.compare(&drive);
        }
    }
    drive.remount();
    model.compare(&drive);
    assert!(drive.journal_files().is_empty());
}

/// At each call of one commit: it is done, or not, and nothing after it.
#[test]
fn every_acknowledged_operation_survives_crashes_at_each_call_of_a_commit() {
    let _alive = Watchdog::new("crashes at each call");
    for seed in seeds(300..302) {
        for call in [Call::StartTransaction, Call::PutBlocks, Call::SetPointers] {
            // until it has no more of these calls
            let calls = (0..).take_while(|skip| commit_breaks_off(seed, call, *skip, Fault::Io)).count() as u32;
            eprintln!("seed {seed}: {calls} of {call:?}");
            for skip in 0..calls {
                assert!(commit_breaks_off(seed, call, skip, Fault::LostReply), "{call:?} {skip}");
            }
            assert!(calls > 0, "{call:?}");
        }
    }
}

/// Whether the program dies at the call after the first `skip` ones.
fn commit_breaks_off(seed: u64, call: Call, skip: u32, last: Fault) -> bool {
    let mut drive = journalled();
    drive.mkdir("d").unwrap();
    let mut model = Model::below(&["d/".to_owned()], seed);
    (0..40).for_each(|_| model.step(&drive));
    // not from the front, so that its chunks are not stored before the commit
    let large = pattern(2 * CHUNK as usize, seed);
    drive.write("large", 1, &large).unwrap();
    drive.faults.fail(call, skip, 1, last);
    drive.faults.fail(call, 0, ALWAYS, Fault::Io);
    if call == Call::SetPointers {
        drive.faults.fail(Call::GetPointer, 0, ALWAYS, Fault::Io);
    }
    let breaks_off = drive.fs().sync().is_err();
    drive.crash();
    model.compare(&drive);
    assert_same(&drive.read("large").unwrap()[1..], &large, "large");
    breaks_off
}

/// Commits are made all the time, and each crash is in the middle of some.
#[test]
fn every_acknowledged_operation_survives_crashes_while_commits_happen_by_themselves() {
    let _alive = Watchdog::new("crashes while commits happen by themselves");
    let mut drive = journalled();
    drive.options.dirty_bytes = 1 << 20;
    drive.options.commit_idle = Duration::from_millis(1);
    drive.remount();
    let mut model = Model::new(0);
    for seed in seeds(400..420) {
        eprintln!("seed {seed}");
        model.random = Random::new(seed);
        for _ in 0..10 + model.random.next(40) {
            model.step(&drive);
        }
        drive.crash();
        model.compare(&drive);
    }
    drive.remount();
    model.compare(&drive);
    assert!(drive.journal_files().is_empty());
}

/// The bytes of the journal's files; those of a group that is committed may go meanwhile.
fn bytes_of(drive: &Drive) -> BTreeMap<PathBuf, Vec<u8>> {
    let bytes = |file| match fs::read(&file) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        bytes => Some((file, bytes.unwrap())),
    };
    drive.journal_files().into_iter().filter_map(bytes).collect()
}

/// Makes the journal what it was when some of what was appended since `before` was written. Returns whether that is all.
fn cut(before: &BTreeMap<PathBuf, Vec<u8>>, after: &BTreeMap<PathBuf, Vec<u8>>, random: &mut Random) -> bool {
    let start = |file: &PathBuf| before.get(file).map_or(0, Vec::len);
    let appended: usize = after.iter().map(|(file, bytes)| bytes.len() - start(file)).sum();
    let whole = random.next(appended as u64 + 1) as usize;
    let mut left = whole;
    for (file, bytes) in after {
        let taken = left.min(bytes.len() - start(file));
        left -= taken;
        match start(file) + taken {
            0 => fs::remove_file(file).unwrap(),
            end => fs::write(file, &bytes[..end]).unwrap(),
        }
    }
    whole == appended
}

/// At each write of a frame, of a new file, of what a commit notes, and at each removal of a file; on a node of our own
/// and on one that others use.
#[test]
fn every_acknowledged_operation_survives_crashes_at_any_write_of_the_journal() {
    let _alive = Watchdog::new("crashes at any write of the journal");
    for is_shared in [false, true] {
        let mut drive = journalled();
        drive.options.poll_interval = is_shared.then_some(Duration::from_secs(3600));
        drive.remount();
        let mut model = Model::new(0);
        for seed in seeds(200..240) {
            eprintln!("seed {seed}");
            model.random = Random::new(seed);
            let how = model.random.next(4);
            if how == 0 {
                // what the last crash left is not part of the group that is committed at the end
                drive.fs().sync().unwrap();
            }
            for _ in 0..model.random.next(25) {
                model.step(&drive);
                if model.random.next(10) == 0 {
                    drive.fs().sync().unwrap();
                }
            }
            match how {
                0 => removal(&mut drive, &mut model.random),
                1 => commit(&mut drive, &mut model.random),
                _ => step(&mut drive, &mut model),
            }
            model.compare(&drive);
        }
    }
}

/// The program dies while an operation is noted.
fn step(drive: &mut Drive, model: &mut Model) {
    // what is committed already was announced before the bytes are read
    drive.faults.fail(Call::SetPointers, 0, ALWAYS, Fault::Io);
    let before = bytes_of(drive);
    let mut with_it = model.clone();
    let path = with_it.path();
    with_it.step_at(drive, path.clone());
    let after = bytes_of(drive);
    let mut is_noted = false;
    drive.crash_and(|_| is_noted = cut(&before, &after, &mut with_it.random));
    if is_noted {
        *model = with_it;
    } else {
        model.take_begun(drive, &with_it, &path);
    }
}

/// The program dies while a commit notes what it is about to do.
fn commit(drive: &mut Drive, random: &mut Random) {
    drive.faults.fail(Call::SetPointers, 0, ALWAYS, Fault::Io);
    let before = bytes_of(drive);
    let _ = drive.fs().sync();
    let after = bytes_of(drive);
    drive.crash_and(|_| {
        cut(&before, &after, random);
    });
}

/// The program dies while it removes the files of a group that is committed.
fn removal(drive: &mut Drive, random: &mut Random) {
    // what was being committed already is part of the group that is committed now
    drive.faults.fail(Call::SetPointers, 0, ALWAYS, Fault::Io);
    let _ = drive.fs().sync();
    drive.faults.heal();
    drive.faults.fail(Call::SetPointers, 0, 1, Fault::LostReply);
    drive.faults.fail(Call::GetPointer, 0, ALWAYS, Fault::Io);
    let _ = drive.fs().sync();
    let after = bytes_of(drive);
    drive.crash_and(|drive| {
        let gone = random.next(after.len() as u64 + 1) as usize;
        drive.journal_files().into_iter().for_each(|file| fs::remove_file(file).unwrap());
        after.iter().skip(gone).for_each(|(file, bytes)| fs::write(file, bytes).unwrap());
    });
}

#[test]
fn a_record_that_was_being_written_is_not_there_and_those_before_are() {
    let mut drive = journalled();
    let mut model = Model::new(7);
    for round in 0..12u64 {
        (0..15).for_each(|_| model.step(&drive));
        drive.mkdir(&format!("before{round}")).unwrap();
        let file = drive.journal_files().pop().unwrap();
        let acknowledged = fs::metadata(&file).unwrap().len();
        drive.write(&format!("torn{round}"), 0, b"not acknowledged").unwrap();
        let written = fs::metadata(&file).unwrap().len();
        let cut = acknowledged + model.random.next(written - acknowledged);
        drive.crash_and(|_| OpenOptions::new().write(true).open(&file).unwrap().set_len(cut).unwrap());
        assert!(drive.stat(&format!("before{round}")).is_ok(), "round {round}");
        // made in a record before the one of the bytes
        if drive.stat(&format!("torn{round}")).is_ok() {
            assert_eq!(drive.read(&format!("torn{round}")).unwrap(), b"");
            drive.unlink(&format!("torn{round}")).unwrap();
        }
        drive.rmdir(&format!("before{round}")).unwrap();
        model.compare(&drive);
    }
}

#[test]
fn identity_and_times_survive() {
    let mut drive = journalled();
    drive.mkdir("d").unwrap();
    drive.write("d/f", 0, b"content").unwrap();
    drive.symlink("d/l", "to nowhere").unwrap();
    drive.rename("d/f", "d/g.txt").unwrap();
    let before: Vec<_> = ["d", "d/g.txt", "d/l"].map(|path| drive.stat(path).unwrap()).into();
    drive.crash();
    for (path, before) in ["d", "d/g.txt", "d/l"].into_iter().zip(before) {
        let after = drive.stat(path).unwrap();
        assert_eq!((after.ino, after.mtime, after.perm), (before.ino, before.mtime, before.perm), "{path}");
        assert_eq!((after.size, after.kind), (before.size, before.kind), "{path}");
    }
    assert_eq!(drive.read("d/g.txt").unwrap(), b"content");
}

#[test]
fn large_files_survive() {
    let mut drive = journalled();
    let mut content = pattern(3 * CHUNK as usize + 12345, 1);
    drive.write("large", 0, &content).unwrap();
    drive.crash();
    assert_same(&drive.read("large").unwrap(), &content, "large");
    drive.write("large", CHUNK - 10, &[7; 20]).unwrap();
    content[CHUNK as usize - 10..][..20].fill(7);
    drive.truncate("large", 2 * CHUNK + 5).unwrap();
    content.truncate(2 * CHUNK as usize + 5);
    drive.crash();
    assert_same(&drive.read("large").unwrap(), &content, "large");
}

#[test]
fn what_finds_no_room_is_kept_over_crashes_and_unmounts() {
    let mut drive = journalled();
    drive.write("old", 0, b"old").unwrap();
    drive.fs().sync().unwrap();
    let content = pattern(300_000, 2);
    drive.faults.fail(Call::PutBlocks, 0, ALWAYS, Fault::DiskFull);
    drive.write("new", 0, &content).unwrap();
    drive.rename("new", "old").unwrap();
    drive.mkdir("fits").unwrap();
    assert_eq!(errno(drive.fsync("old")), libc::ENOSPC);
    drive.crash();
    assert_same(&drive.read("old").unwrap(), &content, "after a crash");
    assert!(drive.stat("fits").is_ok());
    drive.faults.fail(Call::PutBlocks, 0, ALWAYS, Fault::DiskFull);
    drive.write("other", 0, &content).unwrap();
    assert_eq!(drive.remount_after_loss(), libc::ENOSPC);
    drive.faults.heal();
    assert_same(&drive.read("other").unwrap(), &content, "after an unmount");
    drive.remount();
    assert_same(&drive.read("old").unwrap(), &content, "in the end");
    assert!(drive.journal_files().is_empty());
}

//! Commits that fail, in every way and at every step: nothing that was acknowledged is lost, and nothing is left behind.

use crate::{
    drive::{Drive, Stop, Watchdog},
    faulty::{Call, Damage, Fault},
    model::{Model, assert_same},
    scenarios::{errno, pattern},
};

const MIB: usize = 1 << 20;
/// More than ever happens in a test.
const ALWAYS: u32 = u32::MAX;

/// Commits, now that nothing fails any more. What had begun before may still have failed.
fn commit_at_last(drive: &Drive) {
    drive.faults.heal();
    let fs = drive.fs();
    fs.sync().or_else(|_| fs.sync()).unwrap();
    assert_eq!(fs.dirty_bytes(), 0);
}

/// Has everybody at work while calls fail, and checks that commits do.
fn work_while_failing(drive: &Drive, models: &mut [Model], (call, skip, fault): (Call, u32, Fault)) {
    drive.faults.fail(call, skip, ALWAYS, fault);
    let stop = Stop::default();
    std::thread::scope(|scope| {
        let stop = &stop;
        scope.spawn(move || {
            while !stop.is_set() {
                let _ = drive.fs().sync();
            }
        });
        let _stops = stop.when_dropped();
        let workers: Vec<_> =
            models.iter_mut().map(|model| scope.spawn(|| (0..12).for_each(|_| model.step(drive)))).collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
    // the first calls may have to pass yet
    let failed = (0..=skip).find_map(|attempt| {
        drive.write("proof", 0, format!("{call:?} {skip} {fault:?} {attempt}").as_bytes()).unwrap();
        drive.fs().sync().err()
    });
    assert_eq!(failed.map(|error| error.errno()), Some(fault.errno()), "{call:?} {skip} {fault:?}");
}

#[test]
fn whatever_fails_nothing_is_lost() {
    let _alive = Watchdog::new("failing commits");
    let mut drive = Drive::new();
    // so that nobody has to wait for room, and writes fail for no other reason
    drive.options.dirty_bytes = 512 << 20;
    drive.remount();
    let roots = ["x", "y", "z"];
    for root in roots {
        drive.mkdir(root).unwrap();
    }
    let mut models: Vec<Model> = (0..).zip(roots).map(|(i, root)| Model::below(&[format!("{root}/")], i)).collect();
    let faults = [Fault::DiskFull, Fault::Io, Fault::QuotaReached];
    let steps = [0, 1, 3].map(|skip| (Call::PutBlocks, skip));
    let calls = steps.into_iter().chain([(Call::StartTransaction, 0), (Call::SetPointers, 0), (Call::SetPointers, 1)]);
    let cases: Vec<_> = calls.flat_map(|(call, skip)| faults.map(|fault| (call, skip, fault))).collect();
    for (number, case) in cases.into_iter().enumerate() {
        work_while_failing(&drive, &mut models, case);
        models.iter().for_each(|model| model.compare(&drive));
        commit_at_last(&drive);
        models.iter().for_each(|model| model.compare(&drive));
        if number % 4 == 3 {
            drive.remount();
            models.iter().for_each(|model| model.compare(&drive));
        }
    }
    drive.remount();
    models.iter().for_each(|model| model.compare(&drive));
}

#[test]
fn a_lost_reply_is_a_success() {
    let _alive = Watchdog::new("lost replies");
    let mut drive = Drive::new();
    for call in [Call::SetPointers, Call::SetPointers] {
        drive.faults.fail(call, 0, 1, Fault::LostReply);
        drive.write("f", 0, &pattern(6 * MIB, 1)).unwrap();
        drive.fs().sync().unwrap();
        assert!(drive.faults.are_spent());
        drive.write("f", 3, b"more").unwrap();
        drive.fs().sync().unwrap();
    }
    drive.remount();
    let mut expected = pattern(6 * MIB, 1);
    expected[3..7].copy_from_slice(b"more");
    assert_same(&drive.read("f").unwrap(), &expected, "f");
}

#[test]
fn a_lost_reply_that_cannot_be_asked_for_is_found_out_later() {
    let _alive = Watchdog::new("lost replies");
    let mut drive = Drive::new();
    drive.write("kept", 0, b"kept").unwrap();
    drive.mkdir("old").unwrap();
    drive.write("cut", 0, &pattern(11 * MIB, 2)).unwrap();
    drive.write("gone", 0, b"gone").unwrap();
    // done, but nobody knows
    drive.faults.fail(Call::SetPointers, 0, 1, Fault::LostReply);
    drive.faults.fail(Call::GetPointer, 0, 1, Fault::Io);
    assert_eq!(errno(drive.fs().sync()), libc::EIO);
    assert!(drive.faults.are_spent());
    drive.rename("old", "new").unwrap();
    drive.truncate("cut", 10).unwrap();
    drive.unlink("gone").unwrap();
    drive.write("kept", 4, b" and more").unwrap();
    commit_at_last(&drive);
    drive.remount();
    assert_eq!(drive.names("").unwrap(), ["cut", "kept", "new"]);
    assert_eq!(drive.read("kept").unwrap(), b"kept and more");
    assert_eq!(drive.read("cut").unwrap(), pattern(11 * MIB, 2)[..10]);
}

#[test]
fn what_a_failed_commit_stored_is_not_stored_again() {
    let _alive = Watchdog::new("sealed chunks");
    let mut drive = Drive::new();
    // so that nothing is committed before it is asked for
    drive.options.dirty_bytes = 512 << 20;
    drive.remount();
    let content = pattern(23 * MIB, 3);
    drive.write("ahead", 0, &content).unwrap();
    // the first chunk not from front to back, so that it is not sealed before the commit
    drive.write("f", MIB as u64, &content[MIB..]).unwrap();
    drive.write("f", 0, &content[..MIB]).unwrap();
    drive.write("sparse", 20 * MIB as u64, b"end").unwrap();
    drive.faults.fail(Call::SetPointers, 0, ALWAYS, Fault::Io);
    let sync = || {
        let before = drive.faults.uploaded();
        assert_eq!(errno(drive.fs().sync()), libc::EIO);
        drive.faults.uploaded() - before
    };
    assert!(sync() > 25 * MIB);
    // what no pointer reaches is not garbage while it waits
    drive.node().collect_garbage().unwrap();
    assert!(sync() < MIB);
    drive.write("f", 11 * MIB as u64, b"changed").unwrap();
    assert!((5 * MIB..7 * MIB).contains(&sync()));
    assert_same(&drive.read("ahead").unwrap(), &content, "ahead, before");
    commit_at_last(&drive);
    drive.remount();
    assert_same(&drive.read("ahead").unwrap(), &content, "ahead");
    let mut changed = content;
    changed[11 * MIB..][..7].copy_from_slice(b"changed");
    assert_same(&drive.read("f").unwrap(), &changed, "f");
    let sparse = [vec![0; 20 * MIB], b"end".to_vec()].concat();
    assert_same(&drive.read("sparse").unwrap(), &sparse, "sparse");
}

#[test]
fn what_a_failed_commit_stored_is_stored_again_if_it_is_damaged() {
    let _alive = Watchdog::new("damaged fragments");
    let content = pattern(6 * MIB, 4);
    for damage in [Damage::Hidden, Damage::Corrupted] {
        let mut drive = Drive::new();
        drive.write("f", 0, &content).unwrap();
        drive.faults.fail(Call::SetPointers, 0, 1, Fault::Io);
        assert_eq!(errno(drive.fs().sync()), libc::EIO);
        let before = drive.faults.uploaded();
        drive.faults.damage_fragments(damage);
        drive.fs().sync().unwrap();
        assert!(drive.faults.uploaded() - before > content.len(), "{damage:?}");
        drive.faults.heal();
        drive.remount();
        assert_same(&drive.read("f").unwrap(), &content, "f");
    }
}

#[test]
fn who_writes_more_than_there_is_room_for_is_told_why() {
    let _alive = Watchdog::new("no room");
    let mut drive = Drive::new();
    drive.write("before", 0, b"before").unwrap();
    drive.faults.fail(Call::PutBlocks, 0, ALWAYS, Fault::DiskFull);
    // in pieces that are not sealed ahead
    let handle = drive.create("f").unwrap();
    let (mut written, mut refused) = (Vec::new(), None);
    while refused.is_none() {
        let piece = pattern(MIB, written.len() as u64);
        let offset = written.len() as u64 + 1;
        match drive.write_to(handle, offset, &piece) {
            Ok(()) => written.extend(piece),
            Err(error) => refused = Some(error.errno()),
        }
        assert!(written.len() <= 200 * MIB, "memory is not bounded");
    }
    assert_eq!(refused, Some(libc::ENOSPC));
    commit_at_last(&drive);
    drive.write_to(handle, written.len() as u64 + 1, b"end").unwrap();
    drive.fs().release(handle);
    drive.remount();
    assert_eq!(drive.read("before").unwrap(), b"before");
    let found = drive.read("f").unwrap();
    assert_same(&found[1..written.len() + 1], &written, "what was acknowledged");
    assert_eq!(found[written.len() + 1..], *b"end");
}

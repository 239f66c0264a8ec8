//! What stays in memory when everything has been looked at.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use crate::drive::{Drive, Watchdog};

#[test]
fn what_is_forgotten_is_gone() {
    const FILES: usize = 5_000;
    let mut drive = Drive::new();
    drive.mkdir("d").unwrap();
    for i in 0..FILES {
        let handle = drive.create(&format!("d/{i}")).unwrap();
        drive.fs().release(handle);
    }
    for remounted in [false, true] {
        drive.fs().sync().unwrap();
        let mut listed = Vec::new();
        drive.list_plus("d", &mut |ino| listed.push(ino)).unwrap();
        assert_eq!(listed.len(), FILES);
        assert!(drive.fs().stats().inodes > FILES);
        assert_eq!(drive.names("d").unwrap().len(), FILES);
        listed.into_iter().for_each(|ino| drive.fs().forget(ino, 1));
        let stats = drive.fs().stats();
        assert!(stats.inodes <= 2, "{} inodes for the root and a folder, remounted: {remounted}", stats.inodes);
        assert_eq!((stats.open, stats.dirty_bytes), (0, 0));
        drive.remount();
    }
}

#[test]
fn entries_are_not_made_faster_than_they_are_committed() {
    const FILES: usize = 16_000;
    let _alive = Watchdog::new("many entries");
    let drive = Drive::new();
    drive.mkdir("d").unwrap();
    drive.fs().sync().unwrap();
    let faults = drive.faults.clone();
    let (held, made) = (faults.hold_uploads(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in 0..FILES {
                drive.fs().release(drive.create(&format!("d/{i}")).unwrap());
                made.store(i + 1, Ordering::Relaxed);
            }
        });
        let mut last = usize::MAX;
        while last != made.load(Ordering::Relaxed) {
            last = made.load(Ordering::Relaxed);
            std::thread::sleep(Duration::from_secs(1));
        }
        assert!(last < FILES, "all were made while none could be committed");
        drop(held);
    });
    assert_eq!(drive.names("d").unwrap().len(), FILES);
}

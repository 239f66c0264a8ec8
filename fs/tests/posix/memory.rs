//! What stays in memory when everything has been looked at.

use std::{
    collections::HashMap,
    ffi::OsStr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use peergos_fs::posix::Stale;

use crate::drive::{Drive, Watchdog, caller};

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

#[test]
fn a_kernel_that_never_forgets_of_its_own_accord_is_told_to() {
    // of a cache of no bytes, and what comes until the next look
    const MOST: usize = 4096 + 512 + 2;
    let mut drive = Drive::new();
    drive.options.cache_bytes = 0;
    drive.remount();
    let (fs, stale) = (drive.fs(), drive.fs().stale());
    let folder = fs.mkdir(1, OsStr::new("d"), 0o755, caller()).unwrap().ino;
    let mut known = HashMap::new();
    let obey = |known: &mut HashMap<String, u64>| {
        for stale in stale.try_iter() {
            let Stale::Name { directory, name, gone: None } = stale else { panic!("{stale:?}") };
            assert_eq!(directory, folder);
            fs.forget(known.remove(&*name).expect("it is known, and not in use"), 1);
        }
    };
    let (_, held) = fs.create(folder, OsStr::new("held"), 0o644, libc::O_RDWR, caller()).unwrap();
    for i in 0..12_000 {
        let name = i.to_string();
        let (attr, handle) = fs.create(folder, OsStr::new(&name), 0o644, libc::O_RDWR, caller()).unwrap();
        fs.release(handle);
        known.insert(name, attr.ino);
        if i % 1000 == 999 {
            // what is not committed is not dropped
            fs.sync().unwrap();
        }
        obey(&mut known);
    }
    assert!(known.len() <= MOST && known.contains_key("11999") && !known.contains_key("0"), "{}", known.len());
    for i in 0..12_000 {
        let name = i.to_string();
        let ino = fs.lookup(folder, OsStr::new(&name)).unwrap().ino;
        if known.insert(name, ino).is_some() {
            fs.forget(ino, 1);
        }
        obey(&mut known);
    }
    assert!(fs.stats().inodes <= MOST, "{} inodes", fs.stats().inodes);
    fs.release(held);
}

#[test]
fn names_leave_memory_where_the_kernel_remembers_only_their_directories() {
    const DIRECTORIES: usize = 40;
    const FILES: usize = 200;
    /// For so many there is room: one for 2 KiB of the cache. It is looked for what can go when an eighth has come.
    const MOST: usize = 800;
    /// And so many stay for a while after they were listed, since the kernel is likely to ask for them.
    const KEPT: usize = 2048;
    let mut drive = Drive::new();
    drive.options.cache_bytes = MOST * 2048;
    drive.remount();
    drive.remembers_directories = true;
    for directory in 0..DIRECTORIES {
        drive.mkdir(&format!("{directory}")).unwrap();
        (0..FILES).for_each(|file| drive.write(&format!("{directory}/{file}"), 0, b"content").unwrap());
    }
    // nothing of this can go before it is committed
    assert!(drive.fs().stats().names >= DIRECTORIES * FILES);
    for remounted in [false, true] {
        drive.fs().sync().unwrap();
        if remounted {
            // nobody else could change what the kernel was told there is not, when the names were made
            drive.options.poll_interval = Some(Duration::from_secs(3600));
            drive.remount();
        }
        let _known = drive.lookup("0/7").unwrap();
        assert_eq!(drive.stat("1/none").unwrap_err().errno(), libc::ENOENT);
        for round in 0..2 {
            for directory in 0..DIRECTORIES {
                assert_eq!(drive.names(&directory.to_string()).unwrap().len(), FILES, "{directory}");
                assert_eq!(drive.read(&format!("{directory}/{}", round * 50)).unwrap(), b"content");
            }
            let (names, inodes) = (drive.fs().stats().names, drive.fs().stats().inodes);
            assert!(names <= MOST * 9 / 8 + KEPT + 2 * FILES + DIRECTORIES, "{names} names, remounted: {remounted}");
            assert!(inodes > DIRECTORIES, "{inodes} inodes");
        }
        if !remounted {
            continue;
        }
        // others may change what the kernel knows, and it is to be told then
        let other = drive.second();
        other.unlink("0/7").unwrap();
        other.write("1/none", 0, b"there").unwrap();
        other.fs().sync().unwrap();
        let stale = drive.fs().stale();
        assert!(drive.fs().refresh().unwrap());
        let names: Vec<String> = stale
            .try_iter()
            .filter_map(|stale| if let Stale::Name { name, .. } = stale { Some(name.to_string()) } else { None })
            .collect();
        assert!(names.contains(&"7".to_owned()) && names.contains(&"none".to_owned()), "{names:?}");
    }
}

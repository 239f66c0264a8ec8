//! What any program expects of files and folders.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::harness::{Aspects, Drive, Golden, Tree, command, filled, poll, program, run, run_ok, shell};

/// Borders of the format: inlined content, one fragment, one chunk.
const BORDERS: [u64; 3] = [4096, 1 << 20, 5 << 20];

#[track_caller]
fn fails<T>(result: std::io::Result<T>, errno: Errno) {
    let got = result.err().map(|e| e.raw_os_error().map(Errno::from_raw_os_error));
    assert_eq!(got, Some(Some(errno)));
}

#[test]
fn folders_are_made_and_removed() {
    let drive = Drive::mounted();
    let d = drive.path("d");
    fs::create_dir(&d).unwrap();
    fails(fs::create_dir(&d), Errno::EXIST);
    File::create(d.join("x")).unwrap();
    fails(fs::remove_dir(&d), Errno::NOTEMPTY);
    fails(fs::remove_dir(d.join("x")), Errno::NOTDIR);
    fails(fs::remove_file(&d), Errno::ISDIR);
    fails(fs::create_dir(d.join("x/y")), Errno::NOTDIR);
    fails(fs::create_dir(drive.path("none/y")), Errno::NOENT);
    fails(fs::remove_dir(drive.path("none")), Errno::NOENT);
    fs::remove_file(d.join("x")).unwrap();
    fs::remove_dir(&d).unwrap();
    fails(fs::metadata(&d), Errno::NOENT);
    fs::create_dir(&d).unwrap();
    assert_eq!(fs::read_dir(&d).unwrap().count(), 0);
}

#[test]
fn open_flags_mean_what_they_say() {
    let drive = Drive::mounted();
    let x = drive.path("x");
    let mut options = OpenOptions::new();
    fails(options.write(true).open(&x), Errno::NOENT);
    options.create_new(true).open(&x).unwrap();
    fails(options.create_new(true).open(&x), Errno::EXIST);
    fs::write(&x, "12345").unwrap();
    File::options().create(true).truncate(false).write(true).open(&x).unwrap().write_all(b"ab").unwrap();
    assert_eq!(fs::read(&x).unwrap(), b"ab345");
    let mut truncated = File::options().truncate(true).read(true).write(true).open(&x).unwrap();
    assert_eq!(truncated.metadata().unwrap().len(), 0);
    truncated.write_all(b"z").unwrap();
    assert_eq!(fs::read(&x).unwrap(), b"z");
    fails(rustix::fs::open(&x, OFlags::DIRECTORY, Mode::empty()).map_err(Into::into), Errno::NOTDIR);
    fails(File::options().write(true).open(drive.root()), Errno::ISDIR);
    fails(File::open(x.join("y")), Errno::NOTDIR);
    fails(File::create(drive.path("none/x")), Errno::NOENT);
    fails(File::open(&x).unwrap().write(b"x"), Errno::BADF);
}

#[test]
fn appending_handles_do_not_overwrite_each_other() {
    let mut drive = Drive::mounted();
    let log = drive.path("log");
    let mut handles: Vec<File> =
        (0..2).map(|_| File::options().create(true).append(true).open(&log).unwrap()).collect();
    for i in 0..2000 {
        writeln!(handles[i % 2], "line {i:05}").unwrap();
    }
    drop(handles);
    let expected: String = (0..2000).map(|i| format!("line {i:05}\n")).collect();
    assert_eq!(fs::read_to_string(&log).unwrap(), expected);
    drive.remount();
    assert_eq!(fs::read_to_string(&log).unwrap(), expected);
}

#[test]
fn unlinked_open_file_stays_usable() {
    let mut drive = Drive::mounted();
    let x = drive.path("x");
    let mut old = File::options().create(true).truncate(true).read(true).write(true).open(&x).unwrap();
    old.write_all(&filled(1, 6 << 20)).unwrap();
    fs::remove_file(&x).unwrap();
    fails(fs::metadata(&x), Errno::NOENT);
    assert_eq!(old.metadata().unwrap().nlink(), 0);
    fs::write(&x, "a new file of the same name").unwrap();
    old.seek(SeekFrom::Start(5 << 20)).unwrap();
    old.write_all(b"unseen").unwrap();
    old.sync_all().unwrap();
    let mut content = Vec::new();
    old.rewind().unwrap();
    old.read_to_end(&mut content).unwrap();
    let mut expected = filled(1, 6 << 20);
    expected[5 << 20..][..6].copy_from_slice(b"unseen");
    assert!(content == expected);
    drop(old);
    drive.remount();
    assert_eq!(fs::read(&x).unwrap(), b"a new file of the same name");
    assert_eq!(fs::read_dir(drive.root()).unwrap().count(), 1);
    drive.check();
}

#[test]
fn open_file_survives_the_removal_of_its_folder() {
    let drive = Drive::mounted();
    fs::create_dir(drive.path("d")).unwrap();
    fs::write(drive.path("d/x"), "content").unwrap();
    let mut open = File::open(drive.path("d/x")).unwrap();
    fs::remove_dir_all(drive.path("d")).unwrap();
    let mut text = String::new();
    open.read_to_string(&mut text).unwrap();
    assert_eq!(text, "content");
}

#[test]
fn sizes_around_every_border() {
    let mut drive = Drive::mounted();
    let sizes: Vec<u64> = BORDERS.iter().flat_map(|b| [b - 1, *b, b + 1, 2 * b]).chain([0, 1]).collect();
    for &size in &sizes {
        fs::write(drive.path(size.to_string()), filled(size, size as usize)).unwrap();
    }
    for remounted in [false, true] {
        if remounted {
            drive.remount();
        }
        for &size in &sizes {
            assert!(
                fs::read(drive.path(size.to_string())).unwrap() == filled(size, size as usize),
                "{size}, {remounted}"
            );
        }
    }
    drive.check().assert_shows("carol", false, &{
        drive.mount();
        drive.tree()
    });
}

#[test]
fn holes_and_truncation_read_as_zeros() {
    let mut drive = Drive::mounted();
    let shadow = drive.beside("shadow");
    fs::create_dir(&shadow).unwrap();
    for (i, border) in BORDERS.into_iter().enumerate() {
        for root in [drive.root(), shadow.clone()] {
            let file = File::create(root.join(format!("hole{i}"))).unwrap();
            file.write_all_at(b"behind a hole", border - 5).unwrap();
            let file = File::create(root.join(format!("grown{i}"))).unwrap();
            file.write_all_at(b"start", 0).unwrap();
            file.set_len(2 * border + 1).unwrap();
            let file = File::create(root.join(format!("shrunk and grown{i}"))).unwrap();
            file.write_all_at(&filled(3, 2 * border as usize), 0).unwrap();
            file.set_len(border - 100).unwrap();
            file.set_len(border + 100).unwrap();
            let file = File::create(root.join(format!("cut{i}"))).unwrap();
            file.write_all_at(&filled(4, 2 * border as usize), 0).unwrap();
            file.sync_all().unwrap();
            file.set_len(border).unwrap();
            file.sync_all().unwrap();
            file.write_all_at(b"more", border + 10).unwrap();
        }
    }
    let expected = Tree::read(&shadow);
    drive.tree().assert_equals(&expected, Aspects::Content, "before the remount");
    drive.remount();
    drive.tree().assert_equals(&expected, Aspects::Content, "after the remount");
    drive.check();
}

#[test]
fn cuts_right_after_writing() {
    let mut drive = Drive::mounted();
    // Filled chunks are encrypted in the background: the cut meets some that are, some that will be.
    for i in 0..20u64 {
        let file = File::create(drive.path(i.to_string())).unwrap();
        file.write_all_at(&filled(i, 15 << 20), 0).unwrap();
        file.set_len((15 << 20) - (i + 1) * 700_000).unwrap();
        if i % 3 == 0 {
            file.sync_all().unwrap();
        }
    }
    for remounted in [false, true] {
        if remounted {
            drive.remount();
        }
        for i in 0..20u64 {
            let len = (15 << 20) - (i as usize + 1) * 700_000;
            assert!(fs::read(drive.path(i.to_string())).unwrap() == filled(i, len), "{i}, {remounted}");
        }
    }
    drive.check();
}

#[test]
fn names_up_to_255_units_in_any_script() {
    let mut drive = Drive::mounted();
    let names = [
        "n".repeat(255),
        "é".repeat(255),
        "語".repeat(255),
        "😀".repeat(127),
        "a b\n\t\\*?\"<>|:".into(),
        "...".into(),
    ];
    for name in &names {
        fs::write(drive.path(name), name).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    for name in ["n".repeat(256), "é".repeat(256), "😀".repeat(128)] {
        fails(File::create(drive.path(&name)), Errno::NAMETOOLONG);
        fails(fs::create_dir(drive.path(&name)), Errno::NAMETOOLONG);
        fails(fs::rename(drive.path("..."), drive.path(&name)), Errno::NAMETOOLONG);
        fails(fs::metadata(drive.path(&name)), Errno::NAMETOOLONG);
    }
    // Names are text in Peergos: bytes that are none cannot be stored, and must not be stored as something else.
    let bytes = Path::new(std::ffi::OsStr::from_bytes(b"not \xff UTF-8"));
    assert!(File::create(drive.path(bytes)).is_err());
    drive.remount();
    let listed: BTreeSet<String> =
        fs::read_dir(drive.root()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(listed, names.iter().cloned().collect());
    for name in &names {
        assert_eq!(&fs::read_to_string(drive.path(name)).unwrap(), name);
    }
    drive.check();
}

#[test]
fn large_folder_lists_every_entry_once_while_it_shrinks() {
    let mut drive = Drive::mounted();
    fs::create_dir(drive.path("d")).unwrap();
    for i in 0..1300 {
        File::create(drive.path(format!("d/{i}"))).unwrap();
    }
    drive.remount();
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir(drive.path("d")).unwrap() {
        let entry = entry.unwrap();
        assert!(entry.file_type().unwrap().is_file());
        assert!(seen.insert(entry.file_name()), "{:?} is listed twice", entry.file_name());
        fs::remove_file(entry.path()).unwrap();
    }
    assert_eq!(seen.len(), 1300);
    fs::remove_dir(drive.path("d")).unwrap();
    drive.check();
}

#[test]
fn protocol_entries_are_out_of_reach() {
    let ada = Golden::load("ada");
    let mut drive = Drive::golden(&ada);
    drive.mount();
    for name in [".keystore", ".transactions", "shared", ".capabilitycache"] {
        let path = drive.path(name);
        assert!(!fs::read_dir(drive.root()).unwrap().any(|e| e.unwrap().file_name() == name), "{name} is listed");
        assert!(File::options().write(true).open(&path).is_err(), "{name} can be written");
        assert!(fs::write(&path, "x").is_err(), "{name} can be overwritten");
        assert!(fs::create_dir(&path).is_err(), "{name} can be made");
        assert!(fs::rename(drive.path("hello.txt"), &path).is_err(), "{name} can be replaced");
        assert!(fs::remove_file(&path).is_err() && fs::remove_dir_all(&path).is_err(), "{name} can be removed");
    }
    drive.export().check(&ada.account, None);
}

#[test]
fn statfs_tells_of_room() {
    let mut drive = Drive::mounted();
    drive.unmount();
    // less than the disk has, which others use as well
    run_ok(program().args(["node", "quota", "carol", "200M", "--state"]).arg(drive.state()));
    drive.mount();
    let room = || rustix::fs::statvfs(drive.root()).unwrap();
    let before = room();
    assert!(before.f_blocks > 0 && before.f_bfree <= before.f_blocks && before.f_bavail <= before.f_bfree);
    assert_eq!(before.f_namemax, 255);
    let file = File::create(drive.path("x")).unwrap();
    file.write_all_at(&filled(1, 30 << 20), 0).unwrap();
    file.sync_all().unwrap();
    let used = |s: &rustix::fs::StatVfs| (s.f_blocks - s.f_bfree) * s.f_frsize;
    let grown = || used(&room()).saturating_sub(used(&before));
    assert!(grown() >= 30 << 20, "30 MiB took {} bytes of the quota", grown());
    // until the node has counted, what was uploaded and written over meanwhile is part of it
    assert!(poll(|| (30 << 20..40 << 20).contains(&grown())), "30 MiB took {} bytes of the quota", grown());
    assert!(fs::metadata(drive.path("x")).unwrap().blocks() >= (30 << 20) / 512, "du would show nothing");
}

#[test]
fn what_is_not_supported_says_so() {
    let drive = Drive::mounted();
    let x = drive.path("x");
    fs::write(&x, "x").unwrap();
    fails(fs::hard_link(&x, drive.path("y")), Errno::PERM);
    let chattr = run(command("chattr").arg("+i").arg(&x));
    assert_ne!(chattr.code, Some(0), "{}", chattr.out);
    let whiteout = rustix::fs::renameat_with(CWD, &x, CWD, drive.path("y"), RenameFlags::WHITEOUT);
    assert_eq!(whiteout, Err(Errno::INVAL));
    let unnamed = rustix::fs::open(drive.root(), OFlags::TMPFILE | OFlags::RDWR, Mode::RUSR);
    assert_eq!(unnamed.err(), Some(Errno::OPNOTSUPP));
}

#[test]
fn many_threads_at_once() {
    let mut drive = Drive::mounted();
    std::thread::scope(|scope| {
        for t in 0..8u64 {
            let dir = drive.path(format!("t{t}"));
            scope.spawn(move || {
                fs::create_dir(&dir).unwrap();
                for i in 0..60u64 {
                    let seed = t * 1000 + i;
                    let size = (seed * 7919 % 300_000) as usize;
                    fs::write(dir.join(format!("tmp{i}")), filled(seed, size)).unwrap();
                    fs::rename(dir.join(format!("tmp{i}")), dir.join(format!("{i}"))).unwrap();
                    if i % 10 == 0 {
                        File::open(dir.join(format!("{i}"))).unwrap().sync_all().unwrap();
                    }
                    if i % 3 == 2 {
                        fs::remove_file(dir.join(format!("{}", i - 1))).unwrap();
                    }
                    assert!(fs::read(dir.join(format!("{i}"))).unwrap() == filled(seed, size));
                }
            });
        }
    });
    let before = drive.tree();
    assert_eq!(before.0.len(), 1 + 8 * (1 + 40));
    drive.remount();
    drive.tree().assert_equals(&before, Aspects::All, "after the remount");
    assert_eq!(
        shell(&drive.root(), "cat t*/* | wc -c").trim().parse::<u64>().unwrap(),
        before.0.values().filter(|n| n.kind == crate::harness::Kind::File).map(|n| n.size).sum::<u64>()
    );
    drive.check().assert_shows("carol", false, &before);
}

//! Ranges of files, and names that are exchanged.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use rustix::fs::{CWD, FallocateFlags, RenameFlags, SeekFrom, copy_file_range, fallocate, renameat_with, seek};
use rustix::io::Errno;

use crate::harness::{Aspects, Drive, filled};

const CHUNK: u64 = 5 << 20;

#[test]
fn ranges_are_reserved_and_emptied() {
    let mut drive = Drive::mounted();
    let path = drive.path("f");
    let mut expected = filled(1, 3 * CHUNK as usize + 1000);
    fs::write(&path, &expected).unwrap();
    drive.remount();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let keep = FallocateFlags::KEEP_SIZE;
    let punch = FallocateFlags::PUNCH_HOLE | keep;
    // within a chunk, over a whole one and into the next, and over the end
    for (start, len, flags) in [
        (100, 5000, punch),
        (CHUNK - 10, CHUNK + 20, punch),
        (2 * CHUNK + 7, 9, FallocateFlags::ZERO_RANGE | keep),
        (3 * CHUNK, 5000, punch),
    ] {
        fallocate(&file, flags, start, len).unwrap();
        let end = (start + len).min(expected.len() as u64);
        expected[start as usize..end as usize].fill(0);
        assert!(fs::read(&path).unwrap() == expected, "{start}+{len}");
    }
    fallocate(&file, keep, 0, 4 * CHUNK).unwrap();
    assert_eq!(file.metadata().unwrap().len(), expected.len() as u64);
    fallocate(&file, FallocateFlags::empty(), 0, expected.len() as u64 + 10).unwrap();
    fallocate(&file, FallocateFlags::ZERO_RANGE, expected.len() as u64 - 5, 25).unwrap();
    let cut = expected.len() - 5;
    expected.truncate(cut);
    expected.resize(cut + 25, 0);
    assert!(fs::read(&path).unwrap() == expected);
    assert_eq!(fallocate(&file, FallocateFlags::COLLAPSE_RANGE, 0, 4096), Err(Errno::OPNOTSUPP));
    assert_eq!(fallocate(&file, FallocateFlags::empty(), 0, 1 << 50), Err(Errno::DQUOT));
    assert_eq!(fallocate(&file, keep, 1 << 53, 1), Err(Errno::FBIG));
    let read_only = File::open(&path).unwrap();
    assert_eq!(fallocate(&read_only, keep, 0, 1), Err(Errno::BADF));
    drop((file, read_only));
    drive.remount();
    assert!(fs::read(&path).unwrap() == expected, "after the remount");
    drive.check();
}

#[test]
fn holes_are_found_and_never_data_called_one() {
    let mut drive = Drive::mounted();
    let path = drive.path("f");
    let file = File::create(&path).unwrap();
    file.set_len(4 * CHUNK).unwrap();
    file.write_all_at(b"data", 2 * CHUNK + 5).unwrap();
    // a memory map could be dirty
    assert_eq!(seek(&file, SeekFrom::Hole(0)), Ok(4 * CHUNK));
    assert_eq!(seek(&file, SeekFrom::Data(1)), Ok(1));
    drop(file);
    let file = File::open(&path).unwrap();
    let data: Vec<_> = [0, CHUNK, 2 * CHUNK + 9, 3 * CHUNK].iter().map(|at| seek(&file, SeekFrom::Data(*at))).collect();
    // what is committed is data, and so is everything until the other handle is closed in the background
    for (at, data) in [0, CHUNK, 2 * CHUNK + 9, 3 * CHUNK].into_iter().zip(data) {
        let of_holes = if at <= 2 * CHUNK { Ok(2 * CHUNK) } else { Err(Errno::NXIO) };
        assert!(data == Ok(at) || data == of_holes, "{at}: {data:?}");
    }
    let hole = seek(&file, SeekFrom::Hole(2 * CHUNK + 1)).unwrap();
    assert!(hole == 3 * CHUNK || hole == 4 * CHUNK, "{hole}");
    assert_eq!(seek(&file, SeekFrom::Data(4 * CHUNK)), Err(Errno::NXIO));
    assert_eq!(seek(&file, SeekFrom::Hole(5 * CHUNK)), Err(Errno::NXIO));
    drop(file);
    drive.remount();
    let file = File::open(&path).unwrap();
    assert_eq!((seek(&file, SeekFrom::Data(0)), seek(&file, SeekFrom::Hole(0))), (Ok(0), Ok(4 * CHUNK)));
}

#[test]
fn ranges_are_copied() {
    let mut drive = Drive::mounted();
    let mut expected = filled(2, 12 << 20);
    fs::write(drive.path("from"), &expected).unwrap();
    drive.remount();
    let from = File::options().read(true).write(true).open(drive.path("from")).unwrap();
    let to = File::create(drive.path("to")).unwrap();
    let copy = |from: &File, mut at: u64, to: &File, mut to_at: u64, mut len: usize| {
        let mut copied = 0;
        while len > 0 {
            let n = copy_file_range(from, Some(&mut at), to, Some(&mut to_at), len).unwrap();
            if n == 0 {
                break;
            }
            (copied, len) = (copied + n, len - n);
        }
        copied
    };
    assert_eq!(copy(&from, 0, &to, 0, 20 << 20), 12 << 20, "up to the end");
    assert!(fs::read(drive.path("to")).unwrap() == expected);
    assert_eq!(copy(&from, 1, &from, (7 << 20) + 3, 3 << 20), 3 << 20, "within a file");
    expected.copy_within(1..1 + (3 << 20), (7 << 20) + 3);
    assert_eq!(copy(&from, 5, &to, (12 << 20) + 100, 1000), 1000, "beyond the end");
    assert_eq!(fs::metadata(drive.path("to")).unwrap().len(), (12 << 20) + 1100);
    drop((from, to));
    drive.remount();
    assert!(fs::read(drive.path("from")).unwrap() == expected);
    assert!(fs::read(drive.path("to")).unwrap()[(12 << 20) + 100..] == expected[5..1005]);
}

#[test]
fn entries_are_exchanged() {
    let mut drive = Drive::mounted();
    let p = |name: &str| drive.path(name);
    fs::create_dir_all(p("d/e")).unwrap();
    fs::write(p("d/e/deep"), "deep").unwrap();
    fs::write(p("a.txt"), "a").unwrap();
    fs::write(p("b.html"), "<html>").unwrap();
    fs::write(p("d/c"), "c").unwrap();
    File::open(p("d")).unwrap().sync_all().unwrap();
    let exchange = |a: &str, b: &str| renameat_with(CWD, p(a), CWD, p(b), RenameFlags::EXCHANGE);
    let inodes = |names: [&str; 2]| names.map(|name| fs::symlink_metadata(p(name)).unwrap().ino());
    let [a, b] = inodes(["a.txt", "b.html"]);
    exchange("a.txt", "b.html").unwrap();
    assert_eq!(inodes(["b.html", "a.txt"]), [a, b]);
    assert_eq!((fs::read(p("a.txt")).unwrap(), fs::read(p("b.html")).unwrap()), (b"<html>".to_vec(), b"a".to_vec()));
    exchange("d/c", "a.txt").unwrap();
    assert_eq!((fs::read(p("a.txt")).unwrap(), fs::read(p("d/c")).unwrap()), (b"c".to_vec(), b"<html>".to_vec()));
    exchange("d/e", "a.txt").unwrap();
    assert_eq!((fs::read(p("d/e")).unwrap(), fs::read(p("a.txt/deep")).unwrap()), (b"c".to_vec(), b"deep".to_vec()));
    exchange("d", "a.txt").unwrap();
    exchange("d", "d").unwrap();
    assert_eq!(exchange("d", "nothing"), Err(Errno::NOENT));
    assert_eq!(exchange("a.txt", "a.txt/c"), Err(Errno::INVAL));
    File::open(p("d")).unwrap().sync_all().unwrap();
    let before = drive.tree();
    drive.kill();
    drive.mount();
    drive.tree().assert_equals(&before, Aspects::All, "after kill -9");
    drive.check();
}

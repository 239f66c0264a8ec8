//! What is measured, of drives that grow.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    drive::{Drive, ROOT},
    table::Table,
};

/// How many files are made before they are committed: without a journal, nothing else bounds the memory that they take.
const GROUP: u64 = 4000;
/// The bytes of a chunk.
const CHUNK: u64 = 5 << 20;
/// How often what takes little time is done.
const TIMES: u64 = 20;

fn millis(duration: Duration) -> f64 {
    1e3 * duration.as_secs_f64()
}

/// Has the most memory that was resident count anew.
pub fn forget_peak() {
    // what it was before is given where the kernel does not allow that
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// The most memory that was resident, in MiB.
fn peak() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

/// File `i` of an account: a hundred in each folder, a hundred folders in each folder.
fn path(i: u64) -> String {
    format!("{}/{}/{}", i / 10_000, i / 100 % 100, i % 100)
}

/// A file that becomes larger and larger, in GiB; of it, what is changed for the measurement is stored.
pub fn file(dir: &Path, sizes: &[u64]) -> Table {
    let mut table = Table::new(
        "A large file",
        "GiB",
        &[
            "written, MiB/s",
            "open the drive, ms",
            "first 4 KiB, ms",
            "other 4 KiB, ms",
            "commit of a changed chunk, ms",
            "its blocks",
            "its KiB besides",
            "memory, MiB",
        ],
    );
    let mut drive = Drive::new(dir);
    drive.create(ROOT, "large", b"");
    let piece: Vec<u8> = (0..CHUNK as u32).map(|i| i.wrapping_mul(0x9e37_79b9).to_le_bytes()[3]).collect();
    let write = |drive: &Drive, offset: u64, bytes: u64| {
        let handle = drive.fs().open_file(drive.walk("large").ino, libc::O_RDWR).unwrap();
        for at in (offset..offset + bytes).step_by(piece.len()) {
            assert_eq!(drive.fs().write(handle, at, &piece).unwrap() as usize, piece.len());
        }
        drive.fs().release(handle);
    };
    let mut made = 0;
    for &size in sizes {
        drive.store().pretend(true);
        forget_peak();
        let start = Instant::now();
        write(&drive, made << 30, (size - made) << 30);
        drive.commit();
        let speed = ((size - made) << 10) as f64 / start.elapsed().as_secs_f64();
        made = size;
        drive.store().pretend(false);
        let places: Vec<u64> = (0..TIMES).map(|i| i * ((size << 30) / CHUNK / TIMES) * CHUNK).collect();
        let (mut times, mut blocks, mut bytes) = (Vec::new(), 0, 0);
        for place in &places {
            write(&drive, *place, CHUNK);
            let commit = drive.commit();
            times.push(millis(commit.0));
            (blocks, bytes) = (blocks + commit.1, bytes + commit.2 - CHUNK as usize);
        }
        let memory = peak();
        let opening = drive.remount();
        let handle = drive.fs().open_file(drive.walk("large").ino, libc::O_RDONLY).unwrap();
        let reads: Vec<f64> = places
            .iter()
            .map(|place| {
                let start = Instant::now();
                let read = drive.fs().read(handle, place + (3 << 20), 4096, |bytes| bytes == &piece[3 << 20..][..4096]);
                assert!(read.unwrap());
                millis(start.elapsed())
            })
            .collect();
        drive.fs().release(handle);
        let each = |sum: usize| sum as f64 / TIMES as f64;
        let row = [
            speed,
            millis(opening),
            reads[0],
            median(&reads[1..]),
            median(&times),
            each(blocks),
            each(bytes) / 1024.0,
            memory,
        ];
        table.add(size, &row);
    }
    table
}

/// An account with more and more files.
pub fn accounts(dir: &Path, sizes: &[u64]) -> Table {
    let mut table = Table::new(
        "An account with many files",
        "files",
        &[
            "open it, ms",
            "first path, ms",
            "other paths, ms",
            "commit of a new file, ms",
            "its blocks",
            "its KiB",
            "memory, MiB",
        ],
    );
    let mut drive = Drive::new(dir);
    let mut made = 0;
    for &size in sizes {
        while made < size {
            let parent = match made % 10_000 {
                0 => drive.mkdir(ROOT, &(made / 10_000).to_string()),
                _ => drive.walk(&(made / 10_000).to_string()).ino,
            };
            let folder = drive.mkdir(parent, &(made / 100 % 100).to_string());
            (0..100).for_each(|i| drive.create(folder, &i.to_string(), b"small"));
            drive.fs().forget(folder, 1);
            drive.fs().forget(parent, 1);
            made += 100;
            if made % GROUP == 0 {
                drive.commit();
            }
        }
        drive.commit();
        let opening = drive.remount();
        let lookups: Vec<f64> = (0..TIMES)
            .map(|i| {
                let start = Instant::now();
                drive.walk(&path(i * (size / TIMES) + 57 % (size / TIMES)));
                millis(start.elapsed())
            })
            .collect();
        let (mut times, mut blocks, mut bytes) = (Vec::new(), 0, 0);
        drive.commit();
        for i in 0..TIMES {
            let file = path(i * (size / TIMES));
            let folder = drive.walk(file.rsplit_once('/').unwrap().0);
            drive.create(folder.ino, &format!("new {i} for {size}"), b"small");
            let commit = drive.commit();
            times.push(millis(commit.0));
            (blocks, bytes) = (blocks + commit.1, bytes + commit.2);
        }
        let each = |sum: usize| sum as f64 / TIMES as f64;
        let row = [
            millis(opening),
            lookups[0],
            median(&lookups[1..]),
            median(&times),
            each(blocks),
            each(bytes) / 1024.0,
            peak(),
        ];
        table.add(size, &row);
    }
    table
}

/// A folder with more and more entries.
pub fn folders(dir: &Path, sizes: &[u64]) -> Table {
    let mut table = Table::new(
        "A folder with many entries",
        "entries",
        &[
            "first name, ms",
            "other names, ms",
            "list with attributes, ms",
            "commit of a new file, ms",
            "its blocks",
            "its KiB",
            "memory, MiB",
        ],
    );
    let mut drive = Drive::new(dir);
    let mut made = 0;
    let folder = drive.mkdir(ROOT, "folder");
    drive.fs().forget(folder, 1);
    for &size in sizes {
        let folder = drive.walk("folder").ino;
        for i in made..size {
            drive.create(folder, &i.to_string(), b"small");
            if i % GROUP == GROUP - 1 {
                drive.commit();
            }
        }
        made = size;
        drive.remount();
        let lookups: Vec<f64> = (0..TIMES)
            .map(|i| {
                let start = Instant::now();
                drive.walk(&format!("folder/{}", i * (size / TIMES)));
                millis(start.elapsed())
            })
            .collect();
        let folder = drive.walk("folder").ino;
        let (mut times, mut blocks, mut bytes) = (Vec::new(), 0, 0);
        for i in 0..TIMES {
            drive.create(folder, &format!("new {i} for {size}"), b"small");
            let commit = drive.commit();
            times.push(millis(commit.0));
            (blocks, bytes) = (blocks + commit.1, bytes + commit.2);
        }
        let start = Instant::now();
        assert!(drive.list(folder) as u64 >= size);
        let listing = millis(start.elapsed());
        let each = |sum: usize| sum as f64 / TIMES as f64;
        let row =
            [lookups[0], median(&lookups[1..]), listing, median(&times), each(blocks), each(bytes) / 1024.0, peak()];
        table.add(size, &row);
    }
    table
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

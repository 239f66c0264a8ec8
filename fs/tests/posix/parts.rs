//! Parts of large fragments are verified by what is kept beside them.

use std::{fs, os::unix::fs::FileExt as _, path::PathBuf, sync::atomic::Ordering};

use crate::drive::Drive;

const FRAGMENT: usize = 1 << 20;
const SIZE: usize = 11 << 20;

fn content() -> Vec<u8> {
    (0..SIZE as u32).flat_map(|at| (at.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()).take(SIZE).collect()
}

/// A drive with a file of some chunks, mounted anew.
fn cold() -> (Drive, Vec<u8>) {
    let mut drive = Drive::new();
    drive.faults.reads_parts.store(true, Ordering::Relaxed);
    let content = content();
    drive.write("f", 0, &content).unwrap();
    drive.fsync("f").unwrap();
    drive.remount();
    (drive, content)
}

/// The files of large blocks.
fn block_files(drive: &Drive) -> Vec<PathBuf> {
    let shards = fs::read_dir(drive.node_dir().join("blocks/0")).unwrap();
    let files = shards.flat_map(|shard| fs::read_dir(shard.unwrap().path()).unwrap());
    let files: Vec<_> = files.map(|file| file.unwrap().path()).filter(|path| len(path) > FRAGMENT as u64 / 2).collect();
    assert!(files.len() >= SIZE / FRAGMENT);
    files
}

fn len(path: &PathBuf) -> u64 {
    fs::metadata(path).unwrap().len()
}

fn flip(path: &PathBuf, at: u64) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], at).unwrap();
}

/// Reads here and there, so that no whole chunk is fetched; how many reads were refused.
fn scattered(drive: &Drive, content: &[u8]) -> usize {
    let handle = drive.open("f").unwrap();
    let mut refused = 0;
    for step in 0..SIZE / 4096 {
        let at = step * 4096 * 1021 % (SIZE - 4096) + step % 7;
        match drive.fs().read(handle, at as u64, 4096, <[u8]>::to_vec) {
            Ok(found) => assert!(found == content[at..at + 4096], "at {at}"),
            Err(error) => {
                assert_eq!(error.errno(), libc::EIO);
                refused += 1;
            }
        }
    }
    drive.fs().release(handle);
    refused
}

#[test]
fn each_part_is_read_as_it_was_written() {
    let (mut drive, content) = cold();
    assert_eq!(scattered(&drive, &content), 0);
    drive.remount();
    assert!(drive.read("f").unwrap() == content);
}

#[test]
fn where_authenticators_are_damaged_or_missing_hashes_are_compared() {
    let (mut drive, content) = cold();
    for (number, file) in block_files(&drive).iter().enumerate() {
        match number % 3 {
            // those of all parts, of one, or none at all
            0 => (1..=256).for_each(|tag| flip(file, len(file) - 16 * tag)),
            1 => flip(file, len(file) - 100),
            _ => fs::File::options().write(true).open(file).unwrap().set_len(len(file) - 4096).unwrap(),
        }
    }
    assert_eq!(scattered(&drive, &content), 0);
    drive.remount();
    assert!(drive.read("f").unwrap() == content);
}

#[test]
fn damage_is_an_error_where_it_is_and_nowhere_else() {
    let (mut drive, content) = cold();
    block_files(&drive).iter().for_each(|file| flip(file, 500_000));
    let refused = scattered(&drive, &content);
    // two or three of the reads meet the part in each fragment
    assert!((1..=4 * (SIZE / FRAGMENT + 1)).contains(&refused), "{refused}");
    drive.remount();
    assert_eq!(drive.read("f").unwrap_err().errno(), libc::EIO);
}

#[test]
fn a_file_that_is_cut_off_or_another_ones_is_an_error() {
    let (drive, content) = cold();
    let files = block_files(&drive);
    for pair in files.chunks_exact(2) {
        fs::copy(&pair[0], &pair[1]).unwrap();
        fs::File::options().write(true).open(&pair[0]).unwrap().set_len(300_000).unwrap();
    }
    let refused = scattered(&drive, &content);
    assert!(refused * 5 > SIZE / 4096 * 4, "{refused}");
}

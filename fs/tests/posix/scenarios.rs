//! Sequences that have a point.

use peergos_fs::posix::Kind;

use crate::drive::{Drive, ROOT, caller};

const MIB: usize = 1 << 20;

/// Bytes that differ from place to place.
pub fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

pub fn errno<T: std::fmt::Debug>(result: peergos_fs::Result<T>) -> i32 {
    result.unwrap_err().errno()
}

#[test]
fn content_survives_a_remount() {
    let mut drive = Drive::new();
    drive.mkdir("docs").unwrap();
    for (i, len) in [0, 1, 4093, 4094, 4100, MIB, 5 * MIB - 1, 5 * MIB, 5 * MIB + 1, 12 * MIB].into_iter().enumerate() {
        drive.write(&format!("docs/{len}"), 0, &pattern(len, i as u64)).unwrap();
    }
    drive.remount();
    for (i, len) in [0, 1, 4093, 4094, 4100, MIB, 5 * MIB - 1, 5 * MIB, 5 * MIB + 1, 12 * MIB].into_iter().enumerate() {
        assert!(drive.read(&format!("docs/{len}")).unwrap() == pattern(len, i as u64), "{len}");
    }
    assert_eq!(drive.list("").unwrap(), [("docs".to_owned(), Kind::Directory)]);
}

#[test]
fn what_cancels_out_in_a_group_leaves_nothing() {
    let mut drive = Drive::new();
    drive.mkdir("a").unwrap();
    drive.write("a/.tmp", 0, b"text").unwrap();
    drive.rename("a/.tmp", "a/final").unwrap();
    drive.write("a/gone", 0, b"x").unwrap();
    drive.unlink("a/gone").unwrap();
    drive.remount();
    assert_eq!(drive.list("a").unwrap(), [("final".to_owned(), Kind::File)]);
    assert_eq!(drive.read("a/final").unwrap(), b"text");
}

#[test]
fn truncating_and_growing_reads_zeros_between() {
    let mut drive = Drive::new();
    let full = pattern(12 * MIB, 1);
    drive.write("f", 0, &full).unwrap();
    drive.fs().sync().unwrap();
    drive.truncate("f", MIB as u64).unwrap();
    drive.truncate("f", 11 * MIB as u64).unwrap();
    let mut expected = full[..MIB].to_vec();
    expected.resize(11 * MIB, 0);
    assert!(drive.read("f").unwrap() == expected);
    drive.remount();
    assert!(drive.read("f").unwrap() == expected);
    drive.write("f", 20 * MIB as u64, b"end").unwrap();
    expected.resize(20 * MIB, 0);
    expected.extend_from_slice(b"end");
    drive.remount();
    assert!(drive.read("f").unwrap() == expected);
}

#[test]
fn an_unlinked_file_can_be_read_and_written_until_it_is_closed() {
    let drive = Drive::new();
    let content = pattern(6 * MIB, 3);
    drive.write("f", 0, &content).unwrap();
    drive.fs().sync().unwrap();
    let handle = drive.open("f").unwrap();
    drive.unlink("f").unwrap();
    drive.fs().sync().unwrap();
    assert_eq!(errno(drive.lookup("f")), libc::ENOENT);
    drive.fs().write(handle, 10, b"changed").unwrap();
    drive.fs().sync().unwrap();
    let part = drive.fs().read(handle, 0, 32, <[u8]>::to_vec).unwrap();
    assert_eq!(part[10..17], *b"changed");
    let part = drive.fs().read(handle, 5 * MIB as u64 + 5, 100, <[u8]>::to_vec).unwrap();
    assert_eq!(part, content[5 * MIB + 5..5 * MIB + 105]);
    drive.fs().release(handle);
}

#[test]
fn directories_of_more_than_one_chunk() {
    let mut drive = Drive::new();
    drive.mkdir("many").unwrap();
    for i in 0..1203 {
        drive.write(&format!("many/{i}"), 0, format!("{i}").as_bytes()).unwrap();
    }
    drive.remount();
    assert_eq!(drive.list("many").unwrap().len(), 1203);
    for i in (0..1203).filter(|i| i % 3 != 0) {
        drive.unlink(&format!("many/{i}")).unwrap();
    }
    drive.remount();
    assert_eq!(drive.list("many").unwrap().len(), 401);
    for i in 2000..2400 {
        drive.write(&format!("many/{i}"), 0, b"x").unwrap();
    }
    drive.remount();
    assert_eq!(drive.list("many").unwrap().len(), 801);
    assert_eq!(drive.read("many/900").unwrap(), b"900");
}

#[test]
fn errors_are_those_of_posix() {
    let drive = Drive::new();
    drive.mkdir("d").unwrap();
    drive.write("d/f", 0, b"x").unwrap();
    assert_eq!(errno(drive.mkdir("d")), libc::EEXIST);
    assert_eq!(errno(drive.rmdir("d")), libc::ENOTEMPTY);
    assert_eq!(errno(drive.rmdir("d/f")), libc::ENOTDIR);
    assert_eq!(errno(drive.unlink("d")), libc::EISDIR);
    assert_eq!(errno(drive.unlink("nothing")), libc::ENOENT);
    assert_eq!(errno(drive.rename("d", "d/into-itself")), libc::EINVAL);
    assert_eq!(errno(drive.rename("d/f", "d")), libc::ENOTEMPTY);
    assert_eq!(errno(drive.lookup("shared")), libc::ENOENT);
    assert_eq!(errno(drive.mkdir("shared")), libc::EPERM);
    assert_eq!(errno(drive.mkdir(&"x".repeat(256))), libc::ENAMETOOLONG);
    let invalid = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff");
    assert_eq!(errno(drive.fs().mkdir(ROOT, invalid, 0o777, caller())), libc::EILSEQ);
    assert_eq!(errno(drive.fs().mknod(ROOT, "p".as_ref(), libc::S_IFLNK, 0, caller())), libc::EINVAL);
}

#[test]
fn symlinks_modes_and_times_survive_a_remount() {
    let mut drive = Drive::new();
    drive.symlink("link", "somewhere/else").unwrap();
    drive.write("f", 0, b"x").unwrap();
    let ino = drive.lookup("f").unwrap().ino;
    let mtime = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 123_456_789);
    let set = peergos_fs::posix::SetAttr { mode: Some(0o4751), mtime: Some(mtime), ..Default::default() };
    drive.fs().setattr(ino, &set).unwrap();
    drive.remount();
    let attr = drive.lookup("f").unwrap();
    assert_eq!((attr.perm, attr.mtime, attr.ino), (0o4751, mtime, ino));
    let link = drive.lookup("link").unwrap();
    assert_eq!((link.kind, link.size), (Kind::Symlink, 14));
    assert_eq!(drive.fs().readlink(link.ino).unwrap(), b"somewhere/else");
}

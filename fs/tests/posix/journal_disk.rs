//! What the disk under the journal does to it: it loses the end, or some of what it had, or is full.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use peergos_fs::{Error, Result, posix::SetAttr};
use rustix::fs::FallocateFlags;
use tempfile::TempDir;

use crate::{
    drive::{Drive, Watchdog},
    scenarios::{errno, pattern},
};

const MIB: u64 = 1 << 20;

fn journalled() -> Drive {
    let mut drive = Drive::new();
    drive.keep_journal();
    drive.options.journal.as_mut().unwrap().fsync = true;
    drive.remount();
    drive
}

fn names(count: u64) -> Vec<String> {
    (0..count).map(|number| format!("dir{number}")).collect()
}

/// Flips a bit of what was appended after the first `len` bytes.
fn damage(file: &Path, len: u64) {
    let mut bytes = fs::read(file).unwrap();
    bytes[len as usize + 100] ^= 1;
    fs::write(file, bytes).unwrap();
}

/// Makes folders, after some of which the journal is damaged once the program is dead. Returns the journal's file then.
fn make(drive: &Drive, intact: u64) -> (PathBuf, u64) {
    let mut len = 0;
    for (number, name) in (0..).zip(names(6)) {
        if number == intact {
            len = fs::metadata(drive.journal_files().pop().unwrap()).unwrap().len();
        }
        drive.mkdir(&name).unwrap();
    }
    (drive.journal_files().pop().unwrap(), len)
}

#[test]
fn what_reached_the_disk_before_a_gap_is_made_again() {
    let mut drive = journalled();
    drive.mkdir("dir0").unwrap();
    drive.fsync("").unwrap();
    drive.rmdir("dir0").unwrap();
    let (file, len) = make(&drive, 4);
    let mut bytes = Vec::new();
    drive.crash_and(|_| {
        damage(&file, len);
        bytes = fs::read(&file).unwrap();
    });
    assert_eq!(drive.names("").unwrap(), names(4));
    let aside = drive.journal_dir().join("aside/0").join(file.file_name().unwrap());
    assert_eq!(fs::read(aside).unwrap(), bytes);
    drive.remount();
    assert_eq!(drive.names("").unwrap(), names(4));
    assert!(drive.journal_files().is_empty());
}

#[test]
fn what_the_disk_has_lost_is_told_and_what_is_before_it_is_made_again() {
    let mut drive = journalled();
    let (file, len) = make(&drive, 4);
    drive.fsync("").unwrap();
    drive.mkdir("later").unwrap();
    let mut error = None;
    drive.crash_and(|drive| {
        damage(&file, len);
        error = Some(drive.fails_to_mount());
    });
    let Some(Error::JournalDamaged(aside)) = error else { panic!("{error:?}") };
    assert!(aside.join(file.file_name().unwrap()).exists());
    assert_eq!(drive.names("").unwrap(), names(4));
}

/// What the disk has of a file of the journal that was removed, if the machine dies before it takes that in.
fn only_the_beginning(drive: &Drive, file: &Path, beginning: &[u8]) {
    assert!(drive.journal_files().iter().all(|left| left != file), "it is committed");
    fs::write(file, beginning).unwrap();
}

#[test]
fn what_was_committed_is_not_taken_back_by_the_beginning_of_the_journal() {
    let mut drive = Drive::new();
    drive.keep_journal();
    drive.remount();
    drive.write("f", 0, b"old").unwrap();
    let file = drive.journal_files().pop().unwrap();
    let beginning = fs::read(&file).unwrap();
    drive.write("f", 0, b"new").unwrap();
    drive.fsync("f").unwrap();
    drive.crash_and(|drive| only_the_beginning(drive, &file, &beginning));
    assert_eq!(drive.read("f").unwrap(), b"new");
    assert!(drive.journal_files().is_empty());
    // numbers are not used again, so that what is said of the last commit is not said of later files
    drive.write("f", 0, b"newer").unwrap();
    drive.crash();
    assert_eq!(drive.read("f").unwrap(), b"newer");
}

#[test]
fn what_reached_the_disk_is_made_again_after_a_committed_file_of_which_it_lacks_the_end() {
    let mut drive = journalled();
    drive.mkdir("dir0").unwrap();
    let file = drive.journal_files().pop().unwrap();
    let beginning = fs::read(&file).unwrap();
    drive.mkdir("dir1").unwrap();
    drive.fs().sync().unwrap();
    drive.mkdir("dir2").unwrap();
    drive.fsync("").unwrap();
    drive.crash_and(|drive| only_the_beginning(drive, &file, &beginning));
    assert_eq!(drive.names("").unwrap(), names(3));
    assert!(!drive.journal_dir().join("aside").exists());
}

/// A disk of 64 MiB; needs root.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64m", "small"]).arg(dir.path()).status();
        assert!(mount.unwrap().success());
        Self(dir)
    }

    /// A drive whose journal is on it.
    fn drive(&self) -> Drive {
        let mut drive = Drive::new();
        drive.keep_journal();
        drive.options.journal.as_mut().unwrap().dir = self.0.path().join("journal");
        drive.remount();
        drive
    }

    /// Leaves so many bytes.
    fn fill(&self, left: u64) {
        let disk = rustix::fs::statvfs(self.0.path()).unwrap();
        let filler = File::create(self.0.path().join("filler")).unwrap();
        let free = disk.f_bavail * disk.f_frsize;
        rustix::fs::fallocate(&filler, FallocateFlags::empty(), 0, free - left).unwrap();
    }

    fn empty(&self) {
        fs::remove_file(self.0.path().join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn chmod(drive: &Drive, path: &str, mode: u32) -> Result<()> {
    drive.set(path, &SetAttr { mode: Some(mode), ..Default::default() }).map(drop)
}

fn set_xattr(drive: &Drive, path: &str, value: &[u8]) -> Result<()> {
    drive.at(path, |fs, ino| fs.setxattr(ino, "user.x".as_ref(), value, 0))
}

#[test]
fn a_commit_makes_room_for_any_change() {
    let _alive = Watchdog::new("a commit makes room");
    let disk = SmallDisk::new();
    let drive = disk.drive();
    for name in ["f", "g", "h"] {
        drive.write(name, 0, b"content").unwrap();
    }
    type Change = fn(&Drive) -> Result<()>;
    let changes: [Change; 11] = [
        |drive| drive.mkdir("d").map(drop),
        |drive| drive.create("new").map(|handle| drive.fs().release(handle)),
        |drive| drive.symlink("l", "somewhere").map(drop),
        |drive| chmod(drive, "f", 0o600),
        |drive| set_xattr(drive, "f", b"value"),
        |drive| drive.truncate("f", 3),
        |drive| drive.zero("g", 1, 3),
        |drive| drive.rename("f", "renamed"),
        |drive| drive.exchange("g", "renamed"),
        |drive| drive.unlink("h"),
        |drive| drive.rmdir("d"),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        drive.write("large", 0, &pattern(4 * MIB as usize, number as u64)).unwrap();
        disk.fill(5 * MIB);
        change(&drive).unwrap_or_else(|error| panic!("{number}: {error}"));
        disk.empty();
    }
    assert_eq!(drive.names("").unwrap(), ["g", "l", "large", "new", "renamed"]);
}

#[test]
fn a_commit_that_cannot_be_noted_is_not_made() {
    let _alive = Watchdog::new("a commit that cannot be noted");
    let disk = SmallDisk::new();
    let mut drive = disk.drive();
    drive.fs().sync().unwrap();
    drive.mkdir("d").unwrap();
    // until the file's last page has no room for what a commit notes
    let page_is_full = || {
        let files = fs::read_dir(disk.0.path().join("journal")).unwrap().map(|entry| entry.unwrap());
        let mut journal = files.filter(|entry| entry.path().extension().is_some());
        journal.all(|entry| entry.metadata().unwrap().len() % 4096 > 4000)
    };
    for mode in (0o700..0o777).cycle().take(100_000) {
        if page_is_full() {
            break;
        }
        chmod(&drive, "d", mode).unwrap();
    }
    let home = &drive.account().home;
    let committed = || drive.verified().pointer(&home.owner, &home.writer).unwrap();
    let before = committed();
    disk.fill(0);
    assert_eq!(errno(drive.fs().sync()), libc::ENOSPC);
    assert_eq!(committed(), before);
    disk.empty();
    drive.crash();
    assert_eq!(drive.names("").unwrap(), ["d"]);
    drive.remount();
    assert_eq!(drive.names("").unwrap(), ["d"]);
}

#[test]
fn no_change_goes_beyond_the_quota_while_nothing_can_be_committed() {
    const QUOTA: u64 = 2 * MIB;
    let _alive = Watchdog::new("offline quota");
    let mut drive = Drive::new();
    drive.keep_journal();
    drive.options.journal.as_mut().unwrap().offline_bytes = QUOTA;
    drive.remount();
    for name in ["f", "g", "h"] {
        drive.write(name, 0, b"content").unwrap();
    }
    drive.faults.seem_offline(true);
    let until_full = |change: &dyn Fn(u64) -> Result<()>| {
        let error = (0..100_000).find_map(|number| change(number).err());
        assert_eq!(error.map(|error| error.errno()), Some(libc::ENOSPC));
        drive.journal_files().iter().map(|file| fs::metadata(file).unwrap().len()).sum::<u64>()
    };
    let value = vec![7; 32_000];
    let bytes = until_full(&|_| set_xattr(&drive, "f", &value));
    assert!((QUOTA..QUOTA + 40_000).contains(&bytes), "{bytes}");
    assert_eq!(errno(chmod(&drive, "g", 0o600)), libc::ENOSPC);
    assert_eq!(errno(drive.truncate("g", 3)), libc::ENOSPC);
    assert_eq!(errno(drive.zero("g", 0, 3)), libc::ENOSPC);
    drive.unlink("h").unwrap();
    let names = ["g", "i"];
    let bytes = until_full(&|number| drive.rename(names[number as usize % 2], names[(number + 1) as usize % 2]));
    assert!((QUOTA..QUOTA + QUOTA / 8).contains(&bytes), "{bytes}");
    drive.unlink("f").unwrap();
    drive.faults.seem_offline(false);
    drive.mkdir("d").unwrap();
    drive.remount();
}

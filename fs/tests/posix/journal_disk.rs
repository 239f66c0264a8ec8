//! What the disk under the journal does to it: it loses the end, or some of what it had.

use std::{fs, path::Path};

use peergos_fs::Error;

use crate::drive::Drive;

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
fn make(drive: &Drive, intact: u64) -> (std::path::PathBuf, u64) {
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

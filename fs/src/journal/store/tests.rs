use std::{os::unix::fs::symlink, sync::Arc};

use tempfile::TempDir;

use super::*;
use crate::{capability::MapKey, cryptree::Time};

fn journal(dir: &Path) -> Result<Journal> {
    Journal::open_with(dir, Cipher::new(b"a secret of the account"), 1 << 20)
}

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("all/one");
    (folder, dir)
}

fn record(number: u64) -> Record<'static> {
    Record::Resized { label: MapKey([1; 32]), size: number, at: Time { secs: 0, nanos: 0 } }
}

fn append(journal: &Journal, numbers: impl IntoIterator<Item = u64>) {
    numbers.into_iter().for_each(|number| journal.append(&Base::new, &[record(number)]).unwrap());
}

fn read(journal: &Journal) -> Result<Vec<u64>> {
    let mut numbers = Vec::new();
    journal.read(&mut |_, record| {
        if let Record::Resized { size, .. } = record {
            numbers.push(size);
        }
        Ok(())
    })?;
    Ok(numbers)
}

fn files(dir: &Path) -> Vec<u64> {
    files_in(dir).unwrap().into_iter().map(|(number, _)| number).collect()
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// A file, what becomes of it, and how many records are intact then.
type Gap = (u64, fn(&mut Vec<u8>), u64);

/// What a disk may have, after the machine died, of two files with four records each.
fn gaps() -> [Gap; 6] {
    // in the last record but one
    fn hole(bytes: &mut [u8]) {
        let end = bytes.len() - 150;
        bytes[end - 10..end].fill(0);
    }
    [
        (1, |bytes| hole(bytes), 2),
        (1, |bytes| bytes.truncate(bytes.len() - 1), 3),
        (1, Vec::clear, 0),
        (1, |bytes| bytes.fill(0), 0),
        (2, |bytes| hole(bytes), 6),
        (2, |bytes| bytes[..20].fill(0), 4),
    ]
}

fn two_files(dir: &Path) -> Journal {
    let journal = journal(dir).unwrap();
    append(&journal, 0..4);
    journal.close_group();
    append(&journal, 4..8);
    journal
}

#[test]
fn what_is_before_a_gap_is_read_and_all_is_kept() {
    for (file, gap, intact) in gaps() {
        let (_folder, dir) = folder();
        drop(two_files(&dir));
        change(&segment::path(&dir, file), gap);
        let left: Vec<_> = [1, 2].map(|number| fs::read(segment::path(&dir, number)).unwrap()).into();

        let opened = journal(&dir).unwrap();
        let expected: Vec<u64> = (0..intact).collect();
        assert_eq!(read(&opened).unwrap(), expected);
        assert_eq!(files(&dir), (1..=file).collect::<Vec<_>>());
        let aside = |number| fs::read(segment::path(&dir.join("aside/0"), number)).unwrap();
        assert_eq!([1, 2].map(aside).to_vec(), left);
        let bytes: u64 = files_in(&dir).unwrap().iter().map(|(_, len)| len).sum();
        assert_eq!(opened.bytes(), bytes);

        // what comes later follows what is left
        append(&opened, [10]);
        drop(opened);
        assert_eq!(read(&journal(&dir).unwrap()).unwrap(), [expected, vec![10]].concat());
        assert!(!dir.join("aside/1").exists());
    }
}

#[test]
fn what_the_disk_has_lost_is_told_once() {
    for (file, gap, intact) in gaps() {
        let (_folder, dir) = folder();
        let written = two_files(&dir);
        written.sync().unwrap();
        let path = segment::path(&dir, file);
        let synced = fs::metadata(&path).unwrap().len() as usize;
        append(&written, 8..9);
        drop(written);
        change(&path, |bytes| {
            let later = bytes.split_off(synced);
            gap(bytes);
            bytes.extend(later);
        });

        let result = read(&journal(&dir).unwrap());
        if (file, intact) == (2, 4) {
            // with the head of a file, all of it is lost, and so is what it knew
            assert_eq!(result.unwrap(), [0, 1, 2, 3]);
            continue;
        }
        let Err(Error::JournalDamaged(aside)) = result else { panic!("{file} {intact}: {result:?}") };
        assert_eq!(files(&aside), [1, 2]);
        assert_eq!(read(&journal(&dir).unwrap()).unwrap(), (0..intact).collect::<Vec<_>>());
    }
}

#[test]
fn what_an_earlier_process_left_is_synced_too() {
    let (_folder, dir) = folder();
    drop(two_files(&dir));
    fs::remove_file(segment::path(&dir, 1)).unwrap();
    // which takes in nothing
    symlink("/dev/null", segment::path(&dir, 1)).unwrap();
    assert!(matches!(journal(&dir), Err(Error::Journal(_))));
}

#[test]
fn what_the_disk_failed_to_take_in_is_not_synced_until_it_is_committed() {
    let (_folder, dir) = folder();
    let journal = journal(&dir).unwrap();
    append(&journal, 0..2);
    let null = Arc::new(File::open("/dev/null").unwrap());
    let file = std::mem::replace(&mut journal.files.lock().active.as_mut().unwrap().file, null);
    assert!(journal.sync().is_err());
    journal.files.lock().active.as_mut().unwrap().file = file;
    assert!(journal.sync().is_err());
    append(&journal, 2..3);
    let closed = journal.close_group().unwrap();
    append(&journal, 3..4);
    assert!(journal.sync().is_err());
    journal.remove_until(closed);
    journal.sync().unwrap();
}

#[test]
fn nothing_is_synced_in_a_folder_that_is_not() {
    let (folder, dir) = folder();
    let journal = journal(&dir).unwrap();
    append(&journal, 0..1);
    let elsewhere = folder.path().join("elsewhere");
    fs::rename(&dir, &elsewhere).unwrap();
    assert!(journal.sync().is_err());
    fs::rename(&elsewhere, &dir).unwrap();
    assert!(journal.sync().is_err());
    let closed = journal.close_group().unwrap();
    journal.remove_until(closed);
    append(&journal, 1..2);
    journal.sync().unwrap();
}

#[test]
fn a_file_that_cannot_be_removed_keeps_those_after_it_and_is_tried_again() {
    let (_folder, dir) = folder();
    let journal = journal(&dir).unwrap();
    for number in 0..3 {
        append(&journal, [number]);
        journal.close_group();
    }
    let path = segment::path(&dir, 1);
    fs::rename(&path, dir.join("away")).unwrap();
    fs::create_dir(&path).unwrap();
    let bytes = journal.bytes();
    journal.remove_until(2);
    assert_eq!((files(&dir), journal.bytes()), (vec![1, 2, 3], bytes));
    fs::remove_dir(&path).unwrap();
    fs::rename(dir.join("away"), &path).unwrap();
    journal.remove_until(3);
    assert_eq!((files(&dir), journal.bytes()), (vec![], 0));
}

#[test]
fn nothing_goes_before_what_found_no_room() {
    let (folder, dir) = folder();
    let opened = journal(&dir).unwrap();
    append(&opened, 0..1);
    let elsewhere = folder.path().join("elsewhere");
    fs::rename(&dir, &elsewhere).unwrap();
    assert!(!opened.append_first(&Base::new, &record(1)));
    assert!(opened.append(&Base::new, &[record(2)]).is_err());
    assert!(opened.append(&Base::new, &[]).is_err());
    fs::rename(&elsewhere, &dir).unwrap();
    append(&opened, 3..4);
    assert!(opened.append_first(&Base::new, &record(4)));
    drop(opened);
    assert_eq!(read(&journal(&dir).unwrap()).unwrap(), [0, 1, 3, 4]);
}

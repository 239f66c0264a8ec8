//! The operations, each of which must work exactly where it should.

use std::time::{Duration, UNIX_EPOCH};

use peergos_fs::posix::{FileSystem, Kind, SetAttr};

use super::{ATTRIBUTE, Entry, Model, assert_same, write};
use crate::{drive::Drive, scenarios::pattern};

/// What mknod(2) makes besides regular files.
const SPECIAL: [(Kind, u32); 4] = [
    (Kind::Fifo, libc::S_IFIFO),
    (Kind::Socket, libc::S_IFSOCK),
    (Kind::BlockDevice, libc::S_IFBLK),
    (Kind::CharDevice, libc::S_IFCHR),
];

impl Model {
    /// Few names, so that operations meet.
    pub fn path(&mut self) -> String {
        let prefix = self.random.next(self.prefixes.len() as u64) as usize;
        let depth = 1 + self.random.next(3);
        let names: Vec<String> =
            (0..depth).map(|_| ["a", "b", "ü", "d.txt"][self.random.next(4) as usize].to_owned()).collect();
        format!("{}{}", self.prefixes[prefix], names.join("/"))
    }

    fn offset(&mut self) -> u64 {
        let base = self.places[self.random.next(self.places.len() as u64) as usize];
        base + self.random.next(9)
    }

    /// Does something at random, which must work exactly where it should.
    pub fn step(&mut self, drive: &Drive) {
        let path = self.path();
        self.step_at(drive, path);
    }

    /// The same with this path.
    pub fn step_at(&mut self, drive: &Drive, path: String) {
        match self.random.next(22) {
            // a kernel follows links itself, and opens nothing else but files
            0..8 if matches!(self.entries.get(&path), Some(Entry::Link(_) | Entry::Special(..))) => {}
            0..3 => self.step_write(drive, path),
            3 => {
                let size = self.offset();
                let done = drive.truncate(&path, size);
                self.changed(&path, done.is_ok(), "truncate", |file| file.resize(size as usize, 0));
            }
            4 => {
                let (offset, len) = (self.offset(), 1 + self.offset());
                let done = drive.zero(&path, offset, len);
                self.changed(&path, done.is_ok(), "zero", |file| write(file, offset as usize, &vec![0; len as usize]));
            }
            5 => {
                let (offset, len) = (self.offset(), 1 + self.offset());
                let done = with_open(drive, &path, |fs, handle| fs.fallocate(handle, offset, len, 0));
                let end = (offset + len) as usize;
                self.changed(&path, done.is_ok(), "fallocate", |file| file.resize(file.len().max(end), 0));
            }
            6 => self.step_copy(drive, path),
            7 => self.step_deleted(drive, path),
            8 => self.step_make(&path, Entry::Dir, drive.mkdir(&path)),
            9 => {
                let made = drive.create(&path).map(|handle| drive.fs().release(handle));
                self.step_make(&path, Entry::File(Vec::new()), made);
            }
            10 => {
                let target = format!("../{}", self.random.next(1000));
                let made = drive.symlink(&path, &target);
                self.step_make(&path, Entry::Link(target), made);
            }
            11 => {
                let (kind, mode) = SPECIAL[self.random.next(4) as usize];
                let number = if mode == libc::S_IFBLK || mode == libc::S_IFCHR { 0x105 } else { 0 };
                let made = drive.mknod(&path, mode | 0o600, number);
                self.step_make(&path, Entry::Special(kind, number), made);
            }
            12 => {
                let gone = drive.unlink(&path).is_ok();
                assert_eq!(gone, self.has(&path) && self.entries[&path] != Entry::Dir, "unlink {path}");
                if gone {
                    self.remove(&path);
                }
            }
            13 => {
                let gone = drive.rmdir(&path).is_ok();
                let expected = self.entries.get(&path) == Some(&Entry::Dir) && !self.has_children(&path);
                assert_eq!(gone, expected, "rmdir {path}");
                if gone {
                    self.remove(&path);
                }
            }
            14 | 15 => self.step_rename(drive, path),
            16 => self.step_exchange(drive, path),
            17..20 => self.step_attributes(drive, path),
            _ if self.has(&path) => self.compare_entry(drive, &path),
            _ => assert!(drive.stat(&path).is_err(), "lookup {path}"),
        }
    }

    /// What was done to the content of a file must have worked if it is one.
    fn changed(&mut self, path: &str, is_done: bool, what: &str, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some(Entry::File(file)) = self.entries.get_mut(path) {
            assert!(is_done, "{what} {path}");
            change(file);
            self.forget_time(path);
        } else {
            assert!(!is_done, "{what} {path}");
        }
    }

    /// What has just changed has a time that nobody set.
    fn forget_time(&mut self, path: &str) {
        if let Some(attributes) = self.attributes.get_mut(path) {
            attributes.modified = None;
        }
    }

    /// The same of the directory that something is in.
    fn forget_time_above(&mut self, path: &str) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.forget_time(parent);
        }
    }

    fn remove(&mut self, path: &str) {
        self.entries.remove(path);
        self.attributes.remove(path);
        self.forget_time_above(path);
    }

    fn step_make<T>(&mut self, path: &str, entry: Entry, made: peergos_fs::Result<T>) {
        let expected = self.parent_exists(path) && !self.has(path);
        assert_eq!(made.is_ok(), expected, "make {path}, {entry:?}: {:?}", made.err());
        if expected {
            self.entries.insert(path.to_owned(), entry);
            self.forget_time_above(path);
        }
    }

    fn step_attributes(&mut self, drive: &Drive, path: String) {
        if !self.has(&path) {
            return;
        }
        let (how, value) = (self.random.next(8), self.random.next(0o1000) as u32);
        let attributes = self.attributes.entry(path.clone()).or_default();
        let mut set = SetAttr::default();
        match how {
            0..2 => {
                let bytes = pattern(value as usize, 1);
                drive.at(&path, |fs, ino| fs.setxattr(ino, ATTRIBUTE.as_ref(), &bytes, 0)).unwrap();
                attributes.extended = Some(bytes);
            }
            2 => {
                let removed = drive.at(&path, |fs, ino| fs.removexattr(ino, ATTRIBUTE.as_ref()));
                assert_eq!(removed.is_ok(), attributes.extended.take().is_some(), "removexattr {path}");
            }
            3 => {
                attributes.owner = Some((value, value / 2));
                (set.uid, set.gid) = (Some(value), Some(value / 2));
            }
            4..6 => {
                attributes.modified = Some(UNIX_EPOCH + Duration::new(u64::from(value) << 20, value));
                set.mtime = attributes.modified;
            }
            _ => {
                attributes.mode = Some(value);
                set.mode = attributes.mode;
            }
        }
        drive.set(&path, &set).unwrap();
    }

    fn step_write(&mut self, drive: &Drive, path: String) {
        let offset = self.offset();
        let data = pattern(1 + self.random.next(9000) as usize, self.random.next(1 << 30));
        let written = drive.write(&path, offset, &data);
        let is_made = self.parent_exists(&path) && !self.has(&path);
        if is_made && written.is_ok() {
            self.entries.insert(path.clone(), Entry::File(Vec::new()));
            self.forget_time_above(&path);
        }
        self.changed(&path, written.is_ok(), "write", |file| write(file, offset as usize, &data));
        assert!(!is_made || written.is_ok(), "write {path}: {written:?}");
    }

    fn step_copy(&mut self, drive: &Drive, path: String) {
        let (other, from, to, len) = (self.path(), self.offset(), self.offset(), 1 + self.offset());
        let (Some(Entry::File(source)), Some(Entry::File(_))) = (self.entries.get(&path), self.entries.get(&other))
        else {
            return;
        };
        if path == other {
            return;
        }
        let bytes: Vec<u8> = source.iter().skip(from as usize).take(len as usize).copied().collect();
        let copied = with_open(drive, &path, |fs, source| {
            with_open(drive, &other, |_, target| fs.copy_range((source, from), (target, to), len))
        });
        assert_eq!(copied.unwrap() as usize, bytes.len(), "copy {path} {other}");
        if !bytes.is_empty() {
            self.changed(&other, true, "copy", |file| write(file, to as usize, &bytes));
        }
    }

    /// Deletes a file that is open, and goes on working with it.
    fn step_deleted(&mut self, drive: &Drive, path: String) {
        let Some(Entry::File(file)) = self.entries.get(&path) else { return };
        let mut file = file.clone();
        let deleted = with_open(drive, &path, |fs, handle| {
            drive.at(&path, |_, ino| {
                drive.unlink(&path)?;
                for _ in 0..3 {
                    let offset = self.offset();
                    if self.random.next(3) == 0 {
                        fs.setattr(ino, &SetAttr { size: Some(offset), ..Default::default() })?;
                        file.resize(offset as usize, 0);
                    } else {
                        let data = pattern(1 + self.random.next(9000) as usize, offset);
                        drive.write_to(handle, offset, &data)?;
                        write(&mut file, offset as usize, &data);
                    }
                }
                assert_same(&drive.read_from(handle)?, &file, &path);
                Ok(())
            })
        });
        deleted.unwrap_or_else(|error| panic!("unlink {path}, and go on: {error}"));
        self.remove(&path);
    }

    fn step_rename(&mut self, drive: &Drive, path: String) {
        let to = self.path();
        let flags = if self.random.next(3) == 0 { libc::RENAME_NOREPLACE } else { 0 };
        let done = drive.rename_with(&path, &to, flags);
        let into_itself = to.starts_with(&format!("{path}/"));
        let fits = match (self.entries.get(&path), self.entries.get(&to)) {
            (None, _) => false,
            (Some(_), None) => true,
            _ if flags == libc::RENAME_NOREPLACE => false,
            (Some(Entry::Dir), Some(Entry::Dir)) => path == to || !self.has_children(&to),
            (Some(Entry::Dir), _) | (_, Some(Entry::Dir)) => false,
            _ => true,
        };
        let expected = fits && self.parent_exists(&to) && !into_itself;
        assert_eq!(done.is_ok(), expected, "rename {path} {to} {flags}: {done:?}");
        if expected && path != to {
            self.forget_time_above(&path);
            self.forget_time_above(&to);
            self.rename(&path, &to);
        }
    }

    fn step_exchange(&mut self, drive: &Drive, path: String) {
        let other = self.path();
        let done = drive.exchange(&path, &other);
        let holds = |one: &str, other: &str| other.starts_with(&format!("{one}/"));
        let expected = self.has(&path) && self.has(&other) && !holds(&path, &other) && !holds(&other, &path);
        assert_eq!(done.is_ok(), expected, "exchange {path} {other}: {done:?}");
        if expected && path != other {
            self.forget_time_above(&path);
            self.forget_time_above(&other);
            let aside = "\0".to_owned();
            self.rename(&path, &aside);
            self.rename(&other, &path);
            self.rename(&aside, &other);
        }
    }
}

/// Opens a file, and closes it again.
fn with_open<T>(
    drive: &Drive,
    path: &str,
    act: impl FnOnce(&FileSystem, u64) -> peergos_fs::Result<T>,
) -> peergos_fs::Result<T> {
    let handle = drive.open(path)?;
    let result = act(drive.fs(), handle);
    drive.fs().release(handle);
    result
}

//! Random operations, compared with a model of a file system in memory.

use std::collections::BTreeMap;

use peergos_fs::posix::SetAttr;

use crate::{drive::Drive, scenarios::pattern};

pub const CHUNK: u64 = 5 << 20;

/// Places around the borders of chunks and of what is stored inline.
const BORDERS: [u64; 6] = [0, 4090, 100_000, CHUNK - 3, CHUNK, 2 * CHUNK - 1];
/// The same, of files that can be had in large numbers.
const SMALL: [u64; 8] = [0, 0, 17, 4090, 4090, 30_000, 100_000, CHUNK - 3];

#[derive(Debug, Clone, PartialEq)]
enum Entry {
    Dir,
    File(Vec<u8>),
    Link(String),
}

/// What was set of an entry.
#[derive(Debug, Clone, Default)]
struct Attributes {
    mode: Option<u32>,
    extended: Option<Vec<u8>>,
}

const ATTRIBUTE: &str = "user.model";

/// What a drive must show under some prefixes of paths. A prefix need not end with a name: what begins with it belongs to
/// this model, and what else is in the directory to others.
#[derive(Clone)]
pub struct Model {
    entries: BTreeMap<String, Entry>,
    attributes: BTreeMap<String, Attributes>,
    prefixes: Vec<String>,
    places: &'static [u64],
    pub random: Random,
}

#[derive(Clone)]
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub const fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

pub fn write(file: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset..end].copy_from_slice(data);
}

pub fn assert_same(found: &[u8], expected: &[u8], what: &str) {
    let differs = found.iter().zip(expected).position(|(a, b)| a != b);
    let (len, wanted) = (found.len(), expected.len());
    assert!(found == expected, "{what}: {len} and {wanted} bytes, first difference {differs:?}");
}

/// Moves what is at and below a path.
fn rename_in<T>(map: &mut BTreeMap<String, T>, from: &str, to: &str) {
    let below = format!("{from}/");
    let moved: Vec<String> = map.keys().filter(|path| *path == from || path.starts_with(&below)).cloned().collect();
    map.remove(to);
    for path in moved {
        if let Some(value) = map.remove(&path) {
            map.insert(format!("{to}{}", &path[from.len()..]), value);
        }
    }
}

impl Model {
    /// All of a drive.
    pub fn new(seed: u64) -> Self {
        let prefixes = vec![String::new()];
        let (entries, attributes) = (BTreeMap::new(), BTreeMap::new());
        Self { entries, attributes, prefixes, places: &BORDERS, random: Random::new(seed) }
    }

    /// Some prefixes, in directories that are there; small files.
    pub fn below(prefixes: &[String], seed: u64) -> Self {
        let dirs = prefixes.iter().filter_map(|prefix| prefix.rsplit_once('/'));
        let entries = dirs.map(|(dir, _)| (dir.to_owned(), Entry::Dir)).collect();
        let (attributes, prefixes) = (BTreeMap::new(), prefixes.to_vec());
        Self { entries, attributes, prefixes, places: &SMALL, random: Random::new(seed) }
    }

    fn has_children(&self, path: &str) -> bool {
        let below = format!("{path}/");
        self.entries.range(below.clone()..).next().is_some_and(|(other, _)| other.starts_with(&below))
    }

    fn parent_exists(&self, path: &str) -> bool {
        match path.rsplit_once('/') {
            None => true,
            Some((parent, _)) => self.entries.get(parent) == Some(&Entry::Dir),
        }
    }

    fn rename(&mut self, from: &str, to: &str) {
        rename_in(&mut self.entries, from, to);
        rename_in(&mut self.attributes, from, to);
    }

    fn remove(&mut self, path: &str) {
        self.entries.remove(path);
        self.attributes.remove(path);
    }

    /// Whether there is something.
    pub fn has(&self, path: &str) -> bool {
        self.entries.contains_key(path)
    }

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
        match self.random.next(14) {
            // a kernel follows links itself
            1..=4 | 9 if matches!(self.entries.get(&path), Some(Entry::Link(_))) => {}
            0 => {
                let made = drive.mkdir(&path).is_ok();
                assert_eq!(made, self.parent_exists(&path) && !self.has(&path), "mkdir {path}");
                if made {
                    self.entries.insert(path, Entry::Dir);
                }
            }
            1..4 => self.step_write(drive, path),
            4 => {
                let size = self.offset();
                let done = drive.truncate(&path, size).is_ok();
                match self.entries.get_mut(&path) {
                    Some(Entry::File(file)) => {
                        assert!(done, "truncate {path}");
                        file.resize(size as usize, 0);
                    }
                    _ => assert!(!done, "truncate {path}"),
                }
            }
            5 => {
                let gone = drive.unlink(&path).is_ok();
                let expected = matches!(self.entries.get(&path), Some(Entry::File(_) | Entry::Link(_)));
                assert_eq!(gone, expected, "unlink {path}");
                if gone {
                    self.remove(&path);
                }
            }
            6 => {
                let gone = drive.rmdir(&path).is_ok();
                let expected = self.entries.get(&path) == Some(&Entry::Dir) && !self.has_children(&path);
                assert_eq!(gone, expected, "rmdir {path}");
                if gone {
                    self.remove(&path);
                }
            }
            7 => self.step_rename(drive, path),
            8 => self.step_exchange(drive, path),
            9 => {
                let (offset, len) = (self.offset(), 1 + self.offset());
                let done = drive.zero(&path, offset, len);
                match self.entries.get_mut(&path) {
                    Some(Entry::File(file)) => {
                        assert!(done.is_ok(), "zero {path}: {done:?}");
                        write(file, offset as usize, &vec![0; len as usize]);
                    }
                    _ => assert!(done.is_err(), "zero {path}"),
                }
            }
            10 => {
                let target = format!("../{}", self.random.next(1000));
                let made = drive.symlink(&path, &target).is_ok();
                assert_eq!(made, self.parent_exists(&path) && !self.has(&path), "symlink {path}");
                if made {
                    self.entries.insert(path, Entry::Link(target));
                }
            }
            11 | 12 => self.step_attributes(drive, path),
            _ if self.has(&path) => self.compare_entry(drive, &path),
            _ => assert!(drive.stat(&path).is_err(), "lookup {path}"),
        }
    }

    fn step_attributes(&mut self, drive: &Drive, path: String) {
        if !matches!(self.entries.get(&path), Some(Entry::Dir | Entry::File(_))) {
            return;
        }
        let value = self.random.next(0o1000) as u32;
        let attributes = self.attributes.entry(path.clone()).or_default();
        if value.is_multiple_of(2) {
            drive.set(&path, &SetAttr { mode: Some(value), ..Default::default() }).unwrap();
            attributes.mode = Some(value);
        } else {
            let bytes = pattern(value as usize, 1);
            drive.at(&path, |fs, ino| fs.setxattr(ino, ATTRIBUTE.as_ref(), &bytes, 0)).unwrap();
            attributes.extended = Some(bytes);
        }
    }

    fn step_write(&mut self, drive: &Drive, path: String) {
        let offset = self.offset();
        let data = pattern(1 + self.random.next(9000) as usize, self.random.next(1 << 30));
        let written = drive.write(&path, offset, &data);
        let expected = self.parent_exists(&path) && self.entries.get(&path) != Some(&Entry::Dir);
        assert_eq!(written.is_ok(), expected, "write {path}: {written:?}");
        if expected {
            let entry = self.entries.entry(path).or_insert(Entry::File(Vec::new()));
            let Entry::File(file) = entry else { unreachable!() };
            write(file, offset as usize, &data);
        }
    }

    fn step_rename(&mut self, drive: &Drive, path: String) {
        let to = self.path();
        let done = drive.rename(&path, &to);
        let into_itself = to.starts_with(&format!("{path}/"));
        let fits = match (self.entries.get(&path), self.entries.get(&to)) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(Entry::Dir), Some(Entry::Dir)) => path == to || !self.has_children(&to),
            (Some(Entry::Dir), _) | (_, Some(Entry::Dir)) => false,
            _ => true,
        };
        let expected = fits && self.parent_exists(&to) && !into_itself;
        assert_eq!(done.is_ok(), expected, "rename {path} {to}: {done:?}");
        if expected && path != to {
            self.rename(&path, &to);
        }
    }

    fn step_exchange(&mut self, drive: &Drive, path: String) {
        let other = self.path();
        let done = drive.exchange(&path, &other);
        let holds = |one: &str, other: &str| other.starts_with(&format!("{one}/"));
        let expected = self.entries.contains_key(&path)
            && self.entries.contains_key(&other)
            && !holds(&path, &other)
            && !holds(&other, &path);
        assert_eq!(done.is_ok(), expected, "exchange {path} {other}: {done:?}");
        if expected && path != other {
            let aside = "\0".to_owned();
            self.rename(&path, &aside);
            self.rename(&other, &path);
            self.rename(&aside, &other);
        }
    }

    /// Compares everything.
    pub fn compare(&self, drive: &Drive) {
        for path in self.entries.keys() {
            self.compare_entry(drive, path);
        }
        if self.prefixes.iter().any(String::is_empty) {
            self.compare_names(drive, "");
        }
    }

    fn compare_entry(&self, drive: &Drive, path: &str) {
        match &self.entries[path] {
            Entry::File(file) => assert_same(&drive.read(path).unwrap(), file, path),
            Entry::Dir => self.compare_names(drive, path),
            Entry::Link(target) => {
                assert_eq!(drive.at(path, |fs, ino| fs.readlink(ino)).unwrap(), target.as_bytes(), "{path}");
            }
        }
        let Some(Attributes { mode, extended }) = self.attributes.get(path) else { return };
        let found = drive.at(path, |fs, ino| fs.getxattr(ino, ATTRIBUTE.as_ref())).ok();
        assert_eq!(found, *extended, "{path}");
        let perm = u32::from(drive.stat(path).unwrap().perm);
        assert!(mode.is_none_or(|mode| mode == perm), "{path}: {mode:?}, {perm}");
    }

    fn compare_names(&self, drive: &Drive, dir: &str) {
        let below = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let children =
            self.entries.keys().filter_map(|path| path.strip_prefix(&below)).filter(|name| !name.contains('/'));
        let is_ours = |name: &&String| {
            let path = format!("{below}{name}");
            self.prefixes.iter().any(|prefix| path.starts_with(prefix.as_str()))
        };
        let found = drive.names(dir).unwrap();
        let found: Vec<&String> = found.iter().filter(is_ours).collect();
        let mut expected: Vec<&str> = children.collect();
        expected.sort_unstable();
        assert_eq!(found, expected, "{dir}");
    }
}

#[test]
fn random_operations_agree_with_a_model() {
    let mut drive = Drive::new();
    let mut model = Model::new(0);
    for seed in 1..=6u64 {
        eprintln!("seed {seed}");
        model.random = Random::new(seed);
        for _ in 0..150 {
            model.step(&drive);
            if model.random.next(12) == 0 {
                drive.fs().sync().unwrap();
            }
        }
        model.compare(&drive);
        drive.remount();
        model.compare(&drive);
    }
}

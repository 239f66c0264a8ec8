//! Random operations, compared with a model of a file system in memory.

mod steps;

use std::{collections::BTreeMap, time::SystemTime};

use peergos_fs::posix::Kind;

use crate::drive::Drive;

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
    /// A pipe, socket or device, with the number of the latter.
    Special(Kind, u32),
}

/// What was set of an entry, and not changed since by what changes the entry.
#[derive(Debug, Clone, Default)]
struct Attributes {
    mode: Option<u32>,
    owner: Option<(u32, u32)>,
    modified: Option<SystemTime>,
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

/// The seeds in `PEERGOS_TEST_SEEDS`, as in `1000..1100`, or these.
pub fn seeds(usual: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let Ok(given) = std::env::var("PEERGOS_TEST_SEEDS") else { return usual.into_iter().collect() };
    let (first, end) = given.split_once("..").expect("PEERGOS_TEST_SEEDS is a range");
    (first.parse().unwrap()..end.parse().unwrap()).collect()
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

    /// Whether there is something.
    pub fn has(&self, path: &str) -> bool {
        self.entries.contains_key(path)
    }

    /// Takes in what is there after a crash in the middle of an operation at `path` that makes `after` of this, in several
    /// steps: each byte of a file is as it was, or as it becomes.
    pub fn take_begun(&mut self, drive: &Drive, after: &Self, path: &str) {
        for (at, new) in &after.attributes {
            if let Some(old) = self.attributes.get_mut(at).filter(|old| old.modified != new.modified) {
                old.modified = None;
            }
        }
        for (at, new) in &after.entries {
            let (old, new) = match (self.entries.get(at), new) {
                (Some(Entry::File(old)), Entry::File(new)) => (&old[..], new),
                (None, Entry::File(new)) if at == path && drive.stat(at).is_ok() => (&[][..], new),
                _ => continue,
            };
            if self.has(at) && old == new {
                continue;
            }
            let found = drive.read(at).unwrap();
            let is_of = |content: &[u8], at, byte| content.get(at).map_or(byte == 0, |known| *known == byte);
            let fits = found.iter().enumerate().all(|(at, byte)| is_of(old, at, *byte) || is_of(new, at, *byte));
            assert!(fits && found.len() <= old.len().max(new.len()), "{at}: neither as before nor as after");
            self.entries.insert(at.clone(), Entry::File(found));
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
            Entry::Special(kind, number) => {
                let found = drive.stat(path).unwrap();
                assert_eq!((found.kind, found.rdev, found.size), (*kind, *number, 0), "{path}");
            }
        }
        let Some(Attributes { mode, owner, modified, extended }) = self.attributes.get(path) else { return };
        let found = drive.at(path, |fs, ino| fs.getxattr(ino, ATTRIBUTE.as_ref())).ok();
        assert_eq!(found, *extended, "{path}");
        let found = drive.stat(path).unwrap();
        assert!(mode.is_none_or(|mode| mode == u32::from(found.perm)), "{path}: {mode:?}, {found:?}");
        assert!(owner.is_none_or(|owner| owner == (found.uid, found.gid)), "{path}: {owner:?}, {found:?}");
        assert!(modified.is_none_or(|modified| modified == found.mtime), "{path}: {modified:?}, {found:?}");
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
    for seed in seeds(1..=6) {
        eprintln!("seed {seed}");
        model.random = Random::new(seed);
        drive.forget_names(seed % 2 == 0);
        drive.remount();
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

//! Random operations, compared with a model of a file system in memory.

use std::collections::BTreeMap;

use crate::{drive::Drive, scenarios::pattern};

const CHUNK: u64 = 5 << 20;

#[derive(Debug, Clone, PartialEq)]
enum Entry {
    Dir,
    File(Vec<u8>),
}

#[derive(Default)]
struct Model(BTreeMap<String, Entry>);

impl Model {
    fn has_children(&self, path: &str) -> bool {
        let below = format!("{path}/");
        self.0.range(below.clone()..).next().is_some_and(|(other, _)| other.starts_with(&below))
    }

    fn parent_exists(&self, path: &str) -> bool {
        match path.rsplit_once('/') {
            None => true,
            Some((parent, _)) => self.0.get(parent) == Some(&Entry::Dir),
        }
    }

    fn rename(&mut self, from: &str, to: &str) {
        let below = format!("{from}/");
        let moved: Vec<String> =
            self.0.keys().filter(|path| *path == from || path.starts_with(&below)).cloned().collect();
        self.0.remove(to);
        for path in moved {
            if let Some(entry) = self.0.remove(&path) {
                self.0.insert(format!("{to}{}", &path[from.len()..]), entry);
            }
        }
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    /// Few names, so that operations meet.
    fn path(&mut self) -> String {
        let depth = 1 + self.next(3);
        let names: Vec<String> =
            (0..depth).map(|_| ["a", "b", "ü", "d.txt"][self.next(4) as usize].to_owned()).collect();
        names.join("/")
    }

    /// Places around the borders of chunks and of what is stored inline.
    fn offset(&mut self) -> u64 {
        let base = [0, 4090, 100_000, CHUNK - 3, CHUNK, 2 * CHUNK - 1][self.next(6) as usize];
        base + self.next(9)
    }
}

fn write(file: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset..end].copy_from_slice(data);
}

fn step(drive: &Drive, model: &mut Model, random: &mut Random) {
    let path = random.path();
    match random.next(9) {
        0 => {
            let made = drive.mkdir(&path).is_ok();
            assert_eq!(made, model.parent_exists(&path) && !model.0.contains_key(&path), "mkdir {path}");
            if made {
                model.0.insert(path, Entry::Dir);
            }
        }
        1..4 => {
            let (offset, data) = (random.offset(), pattern(1 + random.next(9000) as usize, random.next(1 << 30)));
            let written = drive.write(&path, offset, &data).is_ok();
            let expected = model.parent_exists(&path) && model.0.get(&path) != Some(&Entry::Dir);
            assert_eq!(written, expected, "write {path}");
            if written {
                let entry = model.0.entry(path).or_insert(Entry::File(Vec::new()));
                let Entry::File(file) = entry else { unreachable!() };
                write(file, offset as usize, &data);
            }
        }
        4 => {
            let size = random.offset();
            let done = drive.truncate(&path, size).is_ok();
            match model.0.get_mut(&path) {
                Some(Entry::File(file)) => {
                    assert!(done, "truncate {path}");
                    file.resize(size as usize, 0);
                }
                _ => assert!(!done, "truncate {path}"),
            }
        }
        5 => {
            let gone = drive.unlink(&path).is_ok();
            assert_eq!(gone, matches!(model.0.get(&path), Some(Entry::File(_))), "unlink {path}");
            if gone {
                model.0.remove(&path);
            }
        }
        6 => {
            let gone = drive.rmdir(&path).is_ok();
            let expected = model.0.get(&path) == Some(&Entry::Dir) && !model.has_children(&path);
            assert_eq!(gone, expected, "rmdir {path}");
            if gone {
                model.0.remove(&path);
            }
        }
        7 => {
            let to = random.path();
            let done = drive.rename(&path, &to).is_ok();
            let into_itself = to.starts_with(&format!("{path}/"));
            let fits = match (model.0.get(&path), model.0.get(&to)) {
                (None, _) => false,
                (Some(_), None) => true,
                (Some(Entry::Dir), Some(Entry::Dir)) => path == to || !model.has_children(&to),
                (Some(Entry::File(_)), Some(Entry::File(_))) => true,
                _ => false,
            };
            assert_eq!(done, fits && model.parent_exists(&to) && !into_itself, "rename {path} {to}");
            if done && path != to {
                model.rename(&path, &to);
            }
        }
        _ => match model.0.get(&path) {
            Some(Entry::File(file)) => assert!(drive.read(&path).unwrap() == *file, "read {path}"),
            Some(Entry::Dir) => assert!(drive.list(&path).is_ok(), "list {path}"),
            None => assert!(drive.lookup(&path).is_err(), "lookup {path}"),
        },
    }
}

fn compare(drive: &Drive, model: &Model) {
    for (path, entry) in &model.0 {
        match entry {
            Entry::File(file) => {
                let found = drive.read(path).unwrap();
                let differs = found.iter().zip(file).position(|(a, b)| a != b);
                assert!(
                    found == *file,
                    "{path}: {} and {} bytes, first difference {differs:?}",
                    found.len(),
                    file.len()
                );
            }
            Entry::Dir => {
                let below = format!("{path}/");
                let children =
                    model.0.keys().filter_map(|other| other.strip_prefix(&below)).filter(|name| !name.contains('/'));
                let found: Vec<String> = drive.list(path).unwrap().into_iter().map(|(name, _)| name).collect();
                let mut expected: Vec<&str> = children.collect();
                expected.sort_unstable();
                assert_eq!(found, expected, "{path}");
            }
        }
    }
}

#[test]
fn random_operations_agree_with_a_model() {
    let mut drive = Drive::new();
    let mut model = Model::default();
    for seed in 1..=6u64 {
        eprintln!("seed {seed}");
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for _ in 0..150 {
            step(&drive, &mut model, &mut random);
            if random.next(12) == 0 {
                drive.fs().sync().unwrap();
            }
        }
        compare(&drive, &model);
        drive.remount();
        compare(&drive, &model);
    }
}

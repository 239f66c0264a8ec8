//! Several writers, each in a folder of its own and with a model of what is in it: what was acknowledged, and the one
//! operation that was under way.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use crate::harness::{Rng, filled};

const WRITERS: usize = 4;

/// Names below a writer's folder; files with what they hold.
type Model = BTreeMap<String, Option<Arc<Vec<u8>>>>;

/// The writers.
pub struct Load(Vec<Writer>);

struct Writer {
    folder: String,
    rng: Rng,
    acknowledged: Model,
    /// What the folder is if the operation that was under way was done.
    under_way: Option<Model>,
    done: u64,
}

impl Load {
    /// Makes the writers' folders.
    pub fn new(root: &Path, seed: u64) -> Self {
        let writer = |number: usize| {
            let folder = format!("writer{number}");
            fs::create_dir(root.join(&folder)).unwrap();
            let rng = Rng::new(seed ^ number as u64);
            Writer { folder, rng, acknowledged: Model::new(), under_way: None, done: 0 }
        };
        Self((0..WRITERS).map(writer).collect())
    }

    /// How many operations were acknowledged.
    pub fn done(&self) -> u64 {
        self.0.iter().map(|writer| writer.done).sum()
    }

    /// Works until the mount is gone.
    pub fn run_until_failure(&mut self, root: &Path) {
        thread::scope(|scope| {
            for writer in &mut self.0 {
                scope.spawn(|| writer.run(root));
            }
        });
    }

    /// Compares everything with what was acknowledged.
    pub fn verify(&mut self, root: &Path, when: &str) {
        self.0.iter_mut().for_each(|writer| writer.verify(root, when));
    }
}

impl Writer {
    fn run(&mut self, root: &Path) {
        let folder = root.join(&self.folder);
        loop {
            match self.step(&folder) {
                Ok(()) => self.done += 1,
                // refused, and so not done
                Err(error) if error.kind() == io::ErrorKind::StorageFull => self.under_way = None,
                Err(error) => {
                    // what statvfs asks for is never in the kernel's cache
                    assert!(rustix::fs::statvfs(root).is_err(), "a living file system fails: {error}");
                    return;
                }
            }
        }
    }

    /// One system call, more or less.
    fn step(&mut self, folder: &Path) -> io::Result<()> {
        let (name, other) = (self.name(), self.name());
        let mut after = self.acknowledged.clone();
        let path = folder.join(&name);
        match (self.rng.below(12), self.acknowledged.get(&name)) {
            (0..4, None) if self.is_free(&name) => {
                after.insert(name, Some(Arc::default()));
                self.act(after, || File::create_new(path).map(drop))
            }
            (4, None) if self.is_free(&name) => {
                after.insert(name, None);
                self.act(after, || fs::create_dir(path))
            }
            (0..6, Some(Some(content))) => {
                let mut content = content.to_vec();
                let append = self.rng.one_in(2);
                let at = if append { content.len() } else { self.rng.below(content.len() as u64 + 5000) as usize };
                let data = filled(self.done, 1 + self.rng.below(30_000) as usize);
                content.resize(content.len().max(at + data.len()), 0);
                content[at..at + data.len()].copy_from_slice(&data);
                after.insert(name, Some(Arc::new(content)));
                self.act(after, || OpenOptions::new().write(true).open(path)?.write_all_at(&data, at as u64))
            }
            (6, Some(Some(content))) => {
                let mut content = content.to_vec();
                content.resize(self.rng.below(content.len() as u64 + 9000) as usize, 0);
                let size = content.len() as u64;
                after.insert(name, Some(Arc::new(content)));
                self.act(after, || {
                    rustix::fs::ftruncate(OpenOptions::new().write(true).open(path)?, size).map_err(Into::into)
                })
            }
            (7, Some(Some(_))) => {
                after.remove(&name);
                self.act(after, || fs::remove_file(path))
            }
            (8, Some(None)) if !self.has_children(&name) => {
                after.remove(&name);
                self.act(after, || fs::remove_dir(path))
            }
            (9..12, Some(entry)) if self.can_replace(&name, &other, entry.is_some()) => {
                rename(&mut after, &name, &other);
                self.act(after, || fs::rename(path, folder.join(other)))
            }
            _ => Ok(()),
        }
    }

    fn act(&mut self, after: Model, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.under_way = Some(after);
        act()?;
        self.acknowledged = self.under_way.take().unwrap_or_default();
        Ok(())
    }

    fn name(&mut self) -> String {
        let depth = 1 + self.rng.below(2);
        let names: Vec<String> = (0..depth).map(|_| format!("n{}", self.rng.below(7))).collect();
        names.join("/")
    }

    fn is_dir(&self, name: &str) -> bool {
        self.acknowledged.get(name).is_some_and(Option::is_none)
    }

    /// Whether the folder of a name is there.
    fn is_free(&self, name: &str) -> bool {
        name.rsplit_once('/').is_none_or(|(folder, _)| self.is_dir(folder))
    }

    fn has_children(&self, name: &str) -> bool {
        let below = format!("{name}/");
        self.acknowledged.keys().any(|other| other.starts_with(&below))
    }

    fn can_replace(&self, name: &str, other: &str, is_file: bool) -> bool {
        let fits = match self.acknowledged.get(other) {
            None => true,
            Some(entry) => is_file && entry.is_some(),
        };
        name != other && self.is_free(other) && fits && !other.starts_with(&format!("{name}/"))
    }

    fn verify(&mut self, root: &Path, when: &str) {
        let folder = root.join(&self.folder);
        let found = read(&folder, &folder);
        let is_done =
            self.under_way.as_ref().is_some_and(|under_way| is_between(&self.acknowledged, under_way, &found));
        if !is_done && found != self.acknowledged {
            let differs = |(name, entry): &(&String, &Option<Arc<Vec<u8>>>)| found.get(*name) != Some(*entry);
            let lost: Vec<_> = self.acknowledged.iter().filter(differs).map(|(name, _)| name).collect();
            let more: Vec<_> = found.keys().filter(|name| !self.acknowledged.contains_key(*name)).collect();
            panic!("{when}: {} after {} operations: wrong are {lost:?}, too much is {more:?}", self.folder, self.done);
        }
        (self.acknowledged, self.under_way) = (found, None);
    }
}

/// Whether `found` is what the operation between the other two makes, or what it has made so far: the kernel cuts writes
/// into several.
fn is_between(before: &Model, after: &Model, found: &Model) -> bool {
    let is_begun = |(name, found): (&String, &Option<Arc<Vec<u8>>>)| match (before.get(name), after.get(name), found) {
        (_, Some(after), found) if after == found => true,
        (Some(Some(before)), Some(Some(after)), Some(found)) => {
            let written = after.iter().zip(found.iter()).take_while(|(after, found)| after == found).count();
            let rest = before.get(written..).unwrap_or_default();
            found[written..] == *rest
        }
        _ => false,
    };
    found.len() == after.len() && found.iter().all(is_begun)
}

/// A rename in a model.
fn rename(model: &mut Model, from: &str, to: &str) {
    let below = format!("{from}/");
    let moved: Vec<String> = model.keys().filter(|name| *name == from || name.starts_with(&below)).cloned().collect();
    for name in moved {
        if let Some(entry) = model.remove(&name) {
            model.insert(format!("{to}{}", &name[from.len()..]), entry);
        }
    }
}

/// Everything below a folder.
fn read(folder: &Path, top: &Path) -> Model {
    let mut model = Model::new();
    let entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    for path in entries {
        let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            model.extend(read(&path, top));
            model.insert(name, None);
        } else {
            model.insert(name, Some(Arc::new(fs::read(&path).unwrap())));
        }
    }
    model
}

//! Several writers, each in a folder of its own and with a model of what is in it: what was acknowledged, and the one
//! operation that was under way.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use rustix::fs::{CWD, FallocateFlags, FileType, Mode, RenameFlags, XattrFlags};

use crate::harness::{Rng, filled};

const WRITERS: usize = 4;
const ATTRIBUTE: &str = "user.load";

/// Names below a writer's folder.
type Model = BTreeMap<String, Entry>;

#[derive(Clone, PartialEq)]
struct Entry {
    kind: Kind,
    mode: u32,
    attribute: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq)]
enum Kind {
    File(Arc<Vec<u8>>),
    Dir,
    Link(PathBuf),
    Pipe,
}

impl Entry {
    const fn new(kind: Kind, mode: u32) -> Self {
        Self { kind, mode, attribute: None }
    }

    /// The same with other content.
    fn holding(&self, content: Vec<u8>) -> Self {
        Self { kind: Kind::File(Arc::new(content)), ..self.clone() }
    }

    /// What is at a path.
    fn read(path: &Path) -> Self {
        let found = path.symlink_metadata().unwrap();
        let kind = match found.file_type() {
            kind if kind.is_dir() => Kind::Dir,
            kind if kind.is_symlink() => Kind::Link(fs::read_link(path).unwrap()),
            kind if kind.is_file() => Kind::File(Arc::new(fs::read(path).unwrap())),
            _ => Kind::Pipe,
        };
        let mut value = Vec::with_capacity(1 << 10);
        let attribute = match rustix::fs::lgetxattr(path, ATTRIBUTE, rustix::buffer::spare_capacity(&mut value)) {
            Err(rustix::io::Errno::NODATA) => None,
            read => read.map(|_| Some(value)).unwrap(),
        };
        Self { kind, mode: found.mode() & 0o7777, attribute }
    }
}

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
                Ok(()) => {}
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

    /// One system call, more or less, to what has a random name, or to make it.
    fn step(&mut self, folder: &Path) -> io::Result<()> {
        let name = self.name();
        let path = folder.join(&name);
        match self.acknowledged.get(&name).cloned() {
            None if self.is_free(&name) => self.make(name, &path),
            None => Ok(()),
            Some(entry) => match (self.rng.below(16), &entry.kind) {
                (0..8, Kind::File(content)) => self.change_content(name, &path, &entry, content.to_vec()),
                (8..10, Kind::File(_) | Kind::Dir) => self.change_attribute(name, &path, entry),
                (10, Kind::File(_) | Kind::Dir | Kind::Pipe) => {
                    let mode = *self.rng.pick(&[0o600, 0o640, 0o755]);
                    self.act(
                        move |after| drop(after.insert(name, Entry { mode, ..entry })),
                        || fs::set_permissions(path, Permissions::from_mode(mode)),
                    )
                }
                (11, kind) => match kind {
                    Kind::Dir if self.has_children(&name) => Ok(()),
                    Kind::Dir => self.act(|after| drop(after.remove(&name)), || fs::remove_dir(path)),
                    _ => self.act(|after| drop(after.remove(&name)), || fs::remove_file(path)),
                },
                (12..16, kind) => self.rename(folder, &name, *kind == Kind::Dir),
                _ => Ok(()),
            },
        }
    }

    fn make(&mut self, name: String, path: &Path) -> io::Result<()> {
        let insert = |kind, mode| move |after: &mut Model| drop(after.insert(name, Entry::new(kind, mode)));
        match self.rng.below(10) {
            0..6 => self.act(insert(Kind::File(Arc::default()), 0o600), || {
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map(drop)
            }),
            6..8 => self.act(insert(Kind::Dir, 0o700), || DirBuilder::new().mode(0o700).create(path)),
            8 => {
                let target = PathBuf::from(format!("to/{}", self.rng.below(1000)));
                self.act(insert(Kind::Link(target.clone()), 0o777), || std::os::unix::fs::symlink(target, path))
            }
            _ => self.act(insert(Kind::Pipe, 0o600), || {
                Ok(rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?)
            }),
        }
    }

    fn change_content(&mut self, name: String, path: &Path, entry: &Entry, mut content: Vec<u8>) -> io::Result<()> {
        let open = || OpenOptions::new().write(true).open(path);
        let size = content.len();
        let at = if self.rng.one_in(2) { size } else { self.rng.below(size as u64 + 5000) as usize };
        let len = 1 + self.rng.below(30_000) as usize;
        let how = self.rng.below(8);
        match how {
            0..5 => {
                let data = filled(self.done, len);
                content.resize(size.max(at + len), 0);
                content[at..at + len].copy_from_slice(&data);
                let after = entry.holding(content);
                self.act(|model| drop(model.insert(name, after)), || open()?.write_all_at(&data, at as u64))
            }
            5 => {
                content.resize(at, 0);
                let after = entry.holding(content);
                self.act(|model| drop(model.insert(name, after)), || open()?.set_len(at as u64))
            }
            _ => {
                let flags = match how {
                    6 if at < size => {
                        content[at..size.min(at + len)].fill(0);
                        let what =
                            if len.is_multiple_of(2) { FallocateFlags::PUNCH_HOLE } else { FallocateFlags::ZERO_RANGE };
                        what | FallocateFlags::KEEP_SIZE
                    }
                    _ => {
                        content.resize(size.max(at + len), 0);
                        FallocateFlags::empty()
                    }
                };
                let after = entry.holding(content);
                self.act(
                    |model| drop(model.insert(name, after)),
                    || Ok(rustix::fs::fallocate(open()?, flags, at as u64, len as u64)?),
                )
            }
        }
    }

    fn change_attribute(&mut self, name: String, path: &Path, entry: Entry) -> io::Result<()> {
        let attribute =
            (entry.attribute.is_none() || self.rng.one_in(2)).then(|| filled(self.done, self.rng.below(200) as usize));
        let after = Entry { attribute: attribute.clone(), ..entry };
        self.act(
            |model| drop(model.insert(name, after)),
            || match attribute {
                Some(value) => Ok(rustix::fs::setxattr(path, ATTRIBUTE, &value, XattrFlags::empty())?),
                None => Ok(rustix::fs::removexattr(path, ATTRIBUTE)?),
            },
        )
    }

    fn rename(&mut self, folder: &Path, name: &str, is_dir: bool) -> io::Result<()> {
        let other = self.name();
        let (from, to) = (folder.join(name), folder.join(&other));
        let holds = |one: &str, other: &str| other.starts_with(&format!("{one}/"));
        let are_apart = name != other && !holds(name, &other) && !holds(&other, name);
        match self.acknowledged.get(&other) {
            Some(_) if are_apart && self.rng.one_in(2) => self.act(
                |after| {
                    let aside = "\0";
                    rename(after, name, aside);
                    rename(after, &other, name);
                    rename(after, aside, &other);
                },
                || Ok(rustix::fs::renameat_with(CWD, &from, CWD, &to, RenameFlags::EXCHANGE)?),
            ),
            replaced
                if are_apart
                    && self.is_free(&other)
                    && replaced.is_none_or(|replaced| !is_dir && replaced.kind != Kind::Dir) =>
            {
                self.act(|after| rename(after, name, &other), || fs::rename(&from, &to))
            }
            _ => Ok(()),
        }
    }

    /// Does something, and remembers what it makes of everything.
    fn act(&mut self, change: impl FnOnce(&mut Model), act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut after = self.acknowledged.clone();
        change(&mut after);
        self.under_way = Some(after);
        act()?;
        self.acknowledged = self.under_way.take().unwrap_or_default();
        self.done += 1;
        Ok(())
    }

    fn name(&mut self) -> String {
        let depth = 1 + self.rng.below(2);
        let names: Vec<String> = (0..depth).map(|_| format!("n{}", self.rng.below(7))).collect();
        names.join("/")
    }

    /// Whether the folder of a name is there.
    fn is_free(&self, name: &str) -> bool {
        let is_dir = |name| self.acknowledged.get(name).is_some_and(|entry| entry.kind == Kind::Dir);
        name.rsplit_once('/').is_none_or(|(folder, _)| is_dir(folder))
    }

    fn has_children(&self, name: &str) -> bool {
        let below = format!("{name}/");
        self.acknowledged.keys().any(|other| other.starts_with(&below))
    }

    fn verify(&mut self, root: &Path, when: &str) {
        let folder = root.join(&self.folder);
        let found = read(&folder, &folder);
        let is_done =
            self.under_way.as_ref().is_some_and(|under_way| is_between(&self.acknowledged, under_way, &found));
        if !is_done && found != self.acknowledged {
            let differs = |(name, entry): &(&String, &Entry)| found.get(*name) != Some(*entry);
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
    let is_begun = |(name, found): (&String, &Entry)| match (before.get(name), after.get(name)) {
        (_, Some(after)) if after == found => true,
        (Some(before), Some(after)) => match (&before.kind, &after.kind, &found.kind) {
            (Kind::File(old), Kind::File(new), Kind::File(content)) => {
                let written = new.iter().zip(content.iter()).take_while(|(new, found)| new == found).count();
                let rest = old.get(written..).unwrap_or_default();
                content[written..] == *rest && (found.mode, &found.attribute) == (before.mode, &before.attribute)
            }
            _ => false,
        },
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
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let entry = Entry::read(&path);
        if entry.kind == Kind::Dir {
            model.extend(read(&path, top));
        }
        model.insert(path.strip_prefix(top).unwrap().to_str().unwrap().to_owned(), entry);
    }
    model
}

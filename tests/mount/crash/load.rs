//! Several writers at once, each of which remembers what it was promised: what an fsync that returned must have saved.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::thread;

use crate::harness::{Rng, fill, filled, holds};

/// What must be true after the crash.
#[derive(Default)]
pub struct Load {
    /// Files that were written once and synced: seed and size.
    whole: BTreeMap<String, (u64, u64)>,
    /// Files that are replaced by renaming: the version that was synced, and the newest one that was begun.
    replaced: BTreeMap<String, (u64, u64)>,
    /// Logs: how many bytes were synced.
    logs: BTreeMap<String, u64>,
    /// Files whose removal was synced.
    removed: Vec<String>,
    rounds: u64,
}

/// The size of version `v` of a replaced file: some small, some of more than one chunk.
fn size_of(version: u64) -> usize {
    if version % 9 == 8 { 5_500_000 } else { (version * 7919 % 60_000) as usize }
}

fn write_and_sync(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content)?;
    file.sync_all()
}

impl Load {
    /// Nothing promised yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many synced files there are.
    pub fn synced(&self) -> usize {
        self.whole.len() + self.replaced.len() + self.logs.len()
    }

    /// Writes until the mount is gone.
    pub fn run_until_failure(&mut self, root: &Path, seed: u64) {
        self.rounds += 1;
        // What an earlier round left unsynced is of no further use, and would only make every check longer.
        let _ = fs::remove_dir_all(root.join("churn"));
        let (round, whole, replaced, logs, removed) =
            (self.rounds, &mut self.whole, &mut self.replaced, &mut self.logs, &mut self.removed);
        thread::scope(|scope| {
            scope.spawn(move || until_gone(root, |i| create(root, seed, round, i, whole, removed)));
            scope.spawn(move || until_gone(root, |_| replace(root, replaced)));
            scope.spawn(move || until_gone(root, |_| append(root, logs)));
            scope.spawn(move || until_gone(root, |i| churn(root, round, i)));
        });
    }

    /// Checks every promise.
    pub fn verify(&self, root: &Path, when: &str) {
        for (name, (seed, size)) in &self.whole {
            let file = File::open(root.join(name)).unwrap_or_else(|e| panic!("{when}: {name} was synced: {e}"));
            holds(file, *seed, *size).unwrap_or_else(|e| panic!("{when}: {name} was synced, but {e}"));
        }
        for (name, (synced, begun)) in &self.replaced {
            let content = fs::read(root.join(name)).unwrap_or_else(|e| panic!("{when}: {name}: {e}"));
            let version = (*synced..=*begun).find(|v| content == filled(*v, size_of(*v)));
            assert!(
                version.is_some(),
                "{when}: {name} is none of its versions {synced}..={begun}, {} bytes",
                content.len()
            );
        }
        for (name, synced) in &self.logs {
            let mut start = Vec::new();
            let file = File::open(root.join(name)).unwrap_or_else(|e| panic!("{when}: {name}: {e}"));
            file.take(*synced).read_to_end(&mut start).unwrap();
            assert!(start == filled(3, *synced as usize), "{when}: the synced {synced} bytes of {name} are damaged");
        }
        for name in &self.removed {
            assert!(!root.join(name).exists(), "{when}: {name} was removed, and is back");
        }
    }
}

/// Repeats `step` until it fails because the file system is gone; any other failure is a defect.
fn until_gone(root: &Path, mut step: impl FnMut(u64) -> io::Result<()>) {
    for i in 0.. {
        if let Err(e) = step(i) {
            // What statvfs asks for is never in the kernel's cache.
            assert!(rustix::fs::statvfs(root).is_err(), "step {i} failed on a living file system: {e}");
            return;
        }
    }
}

/// New files of all sizes, synced; some of them removed again, which is synced too.
fn create(
    root: &Path,
    seed: u64,
    round: u64,
    i: u64,
    whole: &mut BTreeMap<String, (u64, u64)>,
    removed: &mut Vec<String>,
) -> io::Result<()> {
    let size = if i % 20 == 16 { 11 << 20 } else { (seed ^ i).wrapping_mul(2_654_435_761) % 200_000 };
    let name = format!("whole-{round}-{i}");
    write_and_sync(&root.join(&name), &filled(seed ^ i, size as usize))?;
    whole.insert(name, (seed ^ i, size));
    if i % 3 == 2
        && let Some((name, _)) = whole.pop_first()
    {
        fs::remove_file(root.join(&name))?;
        File::open(root)?.sync_all()?;
        removed.push(name);
    }
    Ok(())
}

/// A temporary file, synced, renamed over one of three targets; now and then the folder is synced.
fn replace(root: &Path, replaced: &mut BTreeMap<String, (u64, u64)>) -> io::Result<()> {
    let newest = replaced.values().map(|(_, begun)| *begun).max().unwrap_or(0);
    let version = newest + 1;
    let name = format!("replaced-{}", version % 3);
    write_and_sync(&root.join("replaced.tmp"), &filled(version, size_of(version)))?;
    // Begun is what may be there afterwards; a target that never was synced may also be missing.
    if let Some((_, begun)) = replaced.get_mut(&name) {
        *begun = version;
    }
    fs::rename(root.join("replaced.tmp"), root.join(&name))?;
    if version % 4 == 1 || !replaced.contains_key(&name) {
        File::open(root)?.sync_all()?;
        replaced.insert(name, (version, version));
    }
    Ok(())
}

/// A log that only grows.
fn append(root: &Path, logs: &mut BTreeMap<String, u64>) -> io::Result<()> {
    let name = "log";
    let mut file = File::options().create(true).append(true).open(root.join(name))?;
    let at = file.metadata()?.len();
    let mut piece = vec![0; 100 + (at % 30_000) as usize];
    fill(3, at, &mut piece);
    file.write_all(&piece)?;
    file.sync_data()?;
    logs.insert(name.into(), at + piece.len() as u64);
    Ok(())
}

/// What nobody syncs: folders made, filled, moved and removed.
fn churn(root: &Path, round: u64, i: u64) -> io::Result<()> {
    let mut rng = Rng::new(round * 1_000_000 + i);
    let dir = root.join(format!("churn/{round}/{}", rng.below(5)));
    fs::create_dir_all(&dir)?;
    let file = dir.join(format!("{}", rng.below(30)));
    match rng.below(5) {
        0 | 1 => fs::write(&file, filled(i, rng.below(100_000) as usize)),
        2 if rng.one_in(4) => fs::write(&file, filled(i, 5_300_000)),
        3 => ignore_missing(fs::rename(&dir, root.join(format!("churn/moved-{round}-{i}")))),
        _ => ignore_missing(fs::remove_dir_all(&dir)),
    }
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
}

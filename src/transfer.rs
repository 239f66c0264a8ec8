//! `peergos-mount export` and `import`: backup and restore of an account, encrypted as it is.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use crate::{
    cli::StateArg,
    failure::{Classify as _, Result, Status},
    harden,
    progress::{Progress, tell},
    state::State,
    units::show_bytes,
};

/// How many bytes pass between two updates of the display.
const DISPLAY_STEP: u64 = 1 << 20;

/// Writes the account `user` to the two files, which appear when they are complete.
pub fn export(state: StateArg, user: &str, car: &Path, json: &Path) -> Result<()> {
    harden::process();
    let node = State::open(state.state).and_then(|state| state.node()).status(Status::State)?;
    let car = NewFile::create(car)?;
    let mut json = NewFile::create(json)?;
    let mut blocks = Counting::new(&car.file, "Exported");
    node.export(user, &mut blocks, &mut json.file).doing(Status::State, || format!("could not export `{user}`"))?;
    drop(blocks);
    car.finish()?;
    json.finish()
}

/// Takes an account over from the two files.
pub fn import(state: StateArg, car: &Path, json: &Path) -> Result<()> {
    harden::process();
    let node = State::open(state.state).and_then(|state| state.node()).status(Status::State)?;
    let open = |path: &Path| File::open(path).with_context(|| path.display().to_string());
    let (blocks, rest) = (open(car)?, open(json)?);
    let blocks = Counting::new(blocks, "Imported");
    let username = node
        .import(blocks, rest)
        .doing(Status::State, || format!("could not import {} and {}", car.display(), json.display()))?;
    tell(format_args!("Imported the account `{username}`."));
    Ok(())
}

/// A file that replaces another of its name only when it is complete and on the disk.
struct NewFile {
    file: File,
    path: PathBuf,
    temporary: PathBuf,
    finished: bool,
}

impl NewFile {
    fn create(path: &Path) -> Result<Self> {
        let mut temporary = OsString::from(path);
        temporary.push(".part");
        let temporary = PathBuf::from(temporary);
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary);
        let file = file.with_context(|| temporary.display().to_string())?;
        Ok(Self { file, path: path.to_owned(), temporary, finished: false })
    }

    fn finish(mut self) -> Result<()> {
        let result = self.file.sync_all().and_then(|()| fs::rename(&self.temporary, &self.path));
        result.with_context(|| self.path.display().to_string())?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.finished {
            // There is an error to report already.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Shows how much was read or written.
struct Counting<T> {
    inner: T,
    verb: &'static str,
    bytes: u64,
    shown: u64,
    progress: Progress,
}

impl<T> Counting<T> {
    fn new(inner: T, verb: &'static str) -> Self {
        Self { inner, verb, bytes: 0, shown: 0, progress: Progress::new() }
    }

    fn count(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if self.bytes >= self.shown + DISPLAY_STEP {
            self.shown = self.bytes;
            self.progress.show(&format!("{} {} …", self.verb, show_bytes(self.bytes)));
        }
    }
}

impl<T: Read> Read for Counting<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count(read);
        Ok(read)
    }
}

impl<T: Write> Write for Counting<T> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(data)?;
        self.count(written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_appear_when_they_are_complete() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.car");
        fs::write(&path, "older").unwrap();
        let mut abandoned = NewFile::create(&path).unwrap();
        abandoned.file.write_all(b"half").unwrap();
        drop(abandoned);
        assert_eq!(fs::read(&path).unwrap(), b"older");
        let mut file = NewFile::create(&path).unwrap();
        file.file.write_all(b"newer").unwrap();
        file.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"newer");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

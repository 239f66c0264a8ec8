//! The folder that the drive is shown in.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    mounts::{self, Mount},
    state::State,
    unmount,
};

/// An empty folder to mount over, absolute and without symbolic links.
#[derive(Debug)]
pub struct Mountpoint {
    path: PathBuf,
    /// Whether it was made for this mount.
    made: bool,
}

impl Mountpoint {
    /// Makes the folder if it is missing, and clears away a mount whose process was killed.
    pub fn prepare(path: &Path, state: &State) -> Result<Self> {
        let made = make(path)?;
        let this = Self { path: mounts::resolve(path).with_context(|| path.display().to_string())?, made };
        if let Some(mount) = mounts::find(&this.path)?.filter(Mount::is_ours) {
            ensure!(mount.is_dead(), "a drive is mounted at {} already", this.path.display());
            unmount::clear(&mount).context("could not clear away a mount whose process is gone")?;
        }
        let name = this.path.display();
        match fs::read_dir(&this.path) {
            Ok(mut entries) => {
                ensure!(
                    entries.next().is_none(),
                    "{name} is not empty: a drive mounted there would hide what is in it"
                );
            }
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => bail!("{name} is not a directory"),
            Err(error) => return Err(error).with_context(|| name.to_string()),
        }
        // The node would wait for itself.
        ensure!(!state.dir().starts_with(&this.path), "the state directory is inside {name}");
        Ok(this)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes a folder that was made in vain.
    pub fn abandon(self) {
        if self.made {
            // Someone may have put it to use meanwhile.
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// Whether the folder had to be made.
fn make(path: &Path) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(path).with_context(|| format!("could not make the folder {}", path.display()))?;
            Ok(true)
        }
        // That it exists is enough: a mount whose process is gone cannot be looked at.
        _ => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_empty_folders() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(Some(dir.path().join("m/state"))).unwrap();
        let error = Mountpoint::prepare(&dir.path().join("m"), &state).unwrap_err().to_string();
        assert!(error.contains("not empty"), "{error}");
        fs::write(dir.path().join("file"), "").unwrap();
        let error = Mountpoint::prepare(&dir.path().join("file"), &state).unwrap_err().to_string();
        assert!(error.contains("not a directory"), "{error}");
        let error = Mountpoint::prepare(state.dir(), &state).unwrap_err().to_string();
        assert!(error.contains("state directory"), "{error}");
    }

    #[test]
    fn made_and_abandoned() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(Some(dir.path().join("state"))).unwrap();
        let path = dir.path().join("a/b");
        let mountpoint = Mountpoint::prepare(&path, &state).unwrap();
        assert!(path.is_dir());
        mountpoint.abandon();
        assert!(!path.exists());
        fs::create_dir(&path).unwrap();
        Mountpoint::prepare(&path, &state).unwrap().abandon();
        assert!(path.is_dir());
    }
}

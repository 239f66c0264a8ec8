//! The state directory: the embedded node with its accounts, what is remembered of servers and of accounts there, and the
//! log.

use std::{
    env, fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::unistd::geteuid;
use peergos_crypto::{password::Algorithm, signing::KeyHash};
use peergos_fs::journal;
use peergos_net::{Error, embedded::EmbeddedNode};

/// How long to wait for another process that is just finishing.
pub const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// The longest file name that is made.
const MAX_FILE_NAME: usize = 200;

/// A directory that only its user can look into.
#[derive(Debug)]
pub struct State {
    dir: PathBuf,
}

impl State {
    /// Opens `dir`, or the default one; makes it if it is missing.
    pub fn open(dir: Option<PathBuf>) -> Result<Self> {
        let dir = dir.map_or_else(default_dir, Ok)?;
        ensure!(dir.is_dir() || !dir.exists(), "the state directory {} is not a directory", dir.display());
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .with_context(|| format!("could not make the state directory {}", dir.display()))?;
        let dir = dir.canonicalize().with_context(|| format!("the state directory {}", dir.display()))?;
        make_private(&dir)?;
        Ok(Self { dir })
    }

    /// Opens the node. Waits a little for a process that has just unmounted and still saves.
    pub fn node(&self) -> Result<EmbeddedNode> {
        let started = Instant::now();
        loop {
            match EmbeddedNode::open(&self.dir.join("node")) {
                Err(Error::Locked(_)) if started.elapsed() < LOCK_PATIENCE => thread::sleep(Duration::from_millis(100)),
                Err(Error::Locked(_)) => bail!(
                    "the state directory {} is in use by another peergos-mount; unmount it first, \
                     or give this one a directory of its own with --state",
                    self.dir.display()
                ),
                result => return result.with_context(|| format!("the state directory {}", self.dir.display())),
            }
        }
    }

    /// Where encrypted blocks of servers are cached.
    pub fn cache(&self) -> PathBuf {
        self.dir.join("cache")
    }

    /// Where what is not saved yet is noted, of all accounts.
    pub fn journals(&self) -> PathBuf {
        self.dir.join("journal")
    }

    /// Forgets what is not saved of an account that is deleted.
    pub fn forget_journal(&self, owner: &KeyHash) {
        let dir = journal::directory_of(&self.journals(), owner);
        if let Err(error) = fs::remove_dir_all(&dir)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("{} could not be removed: {error}", dir.display());
        }
    }

    /// Where pointers and claims of the server at `address` are noted.
    pub fn ledger(&self, address: &str) -> PathBuf {
        let name = address.replace(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '-', "_");
        self.dir.join("servers").join(name)
    }

    /// Where a daemon logs to.
    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// How the password of an account became keys at the last login: with this the derivation can begin at once. It is
    /// nothing secret, and only believed if the server says the same.
    pub fn derivation(&self, server: &str, username: &str) -> Option<Algorithm> {
        Algorithm::from_bytes(&fs::read(self.derivation_file(server, username)).ok()?).ok()
    }

    /// Remembers how a password becomes keys. Nothing is lost if it cannot be.
    pub fn note_derivation(&self, server: &str, username: &str, algorithm: &Algorithm) {
        let path = self.derivation_file(server, username);
        let dir = path.parent().map_or(Ok(()), fs::create_dir_all);
        if let Err(error) = dir.and_then(|()| fs::write(&path, algorithm.to_bytes())) {
            tracing::debug!("{}: {error}", path.display());
        }
    }

    fn derivation_file(&self, server: &str, username: &str) -> PathBuf {
        self.file_of("derivations", server, username)
    }

    /// What was kept of an account at `server` for when that is out of reach, encrypted.
    pub fn kept_account(&self, server: &str, username: &str) -> Option<Vec<u8>> {
        fs::read(self.file_of("accounts", server, username)).ok()
    }

    /// Keeps that. Where it cannot be, only a server within reach helps.
    pub fn keep_account(&self, server: &str, username: &str, kept: &[u8]) {
        let path = self.file_of("accounts", server, username);
        let new = path.with_extension("new");
        let dir = path.parent().map_or(Ok(()), fs::create_dir_all);
        if let Err(error) = dir.and_then(|()| fs::write(&new, kept)).and_then(|()| fs::rename(&new, &path)) {
            tracing::warn!("what opens the account without the server could not be kept: {}: {error}", path.display());
        }
    }

    /// Forgets that.
    pub fn forget_account(&self, server: &str, username: &str) {
        // nearly always there is none
        let _ = fs::remove_file(self.file_of("accounts", server, username));
    }

    /// Where the list of what is pinned of an account at `server` is.
    pub fn pins(&self, server: &str, username: &str) -> PathBuf {
        self.file_of("pins", server, username)
    }

    /// A file about an account at `server`.
    fn file_of(&self, folder: &str, server: &str, username: &str) -> PathBuf {
        let name = format!("{username}@{server}");
        let safe = |c: char| if c.is_ascii_alphanumeric() || "-._@".contains(c) { c } else { '_' };
        self.dir.join(folder).join(name.chars().map(safe).take(MAX_FILE_NAME).collect::<String>())
    }

    /// Where the orphans are noted that a check of an account has met.
    pub fn orphans(&self, server: &str, username: &str) -> PathBuf {
        self.file_of("orphans", server, username)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

fn default_dir() -> Result<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|base| base.join("peergos-mount"))
        .context("neither XDG_STATE_HOME nor HOME is set; say with --state where to keep accounts")
}

/// An empty directory is made private; one in use that others may look into is refused, for what was readable may
/// have been read.
fn make_private(dir: &Path) -> Result<()> {
    let metadata = fs::metadata(dir)?;
    ensure!(metadata.uid() == geteuid().as_raw(), "the state directory {} belongs to another user", dir.display());
    if metadata.mode() & 0o077 == 0 {
        return Ok(());
    }
    ensure!(
        fs::read_dir(dir)?.next().is_none(),
        "the state directory {} is open to other users; check who did that, then: chmod 700 {0}",
        dir.display()
    );
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_made_private() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("a/b");
        State::open(Some(dir.clone())).unwrap();
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);

        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        State::open(Some(dir.clone())).unwrap();
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);

        fs::write(dir.join("x"), "").unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o750)).unwrap();
        let error = State::open(Some(dir)).unwrap_err().to_string();
        assert!(error.contains("chmod 700"), "{error}");
    }
}
